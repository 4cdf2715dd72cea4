"""`/v1/models`: what can be asked for."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path

from antiphon.server.rest.access import AnyService
from antiphon.server.rest.agent import AGENT
from antiphon.server.rest.errors import ApiError
from antiphon.server.rest.shapes import NOT_FOUND, REFUSALS, Model, ModelList
from antiphon.server.service import Service

router = APIRouter(prefix="/v1", tags=["models"])


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "antiphon"}


def _names(service: Service) -> list[str]:
    return [*service.model_names, AGENT]


@router.get("/models", summary="List what can be asked for", responses={200: {"model": ModelList}, **REFUSALS})
async def models(service: AnyService) -> dict[str, Any]:
    """The configured models, and the names that mean them."""
    return {"object": "list", "data": [_model(name) for name in _names(service)]}


@router.get(
    "/models/{model:path}", summary="Look a model up", responses={200: {"model": Model}, **REFUSALS, **NOT_FOUND}
)
async def model(service: AnyService, model: Annotated[str, Path(max_length=500)]) -> dict[str, Any]:
    """One of those that `/v1/models` lists."""
    if model not in _names(service):
        raise ApiError(404, "model_not_found", f"there is no model '{model}'", param="model")
    return _model(model)
