"""What `/openapi.json` says of every route, whoever wrote it: its errors in their one form, and what keys are for."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from antiphon.server.rest.shapes import ErrorBody

_REF = {"$ref": "#/components/schemas/ErrorBody"}
_ERRORS = {
    "4XX": "The request cannot be answered as it is, or whoever asks may not ask it.",
    "5XX": "Something broke here, or it cannot be answered now; 503 says in `Retry-After` when to try again.",
}
_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key (`antiphon keys create`). Where none are configured, any or none will do.",
}


def describe(app: FastAPI) -> None:
    """Let the application describe itself so; it looks at its routes when it is first asked."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app)
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def _described(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(title=app.title, version=app.version, routes=app.routes)
    components = made.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["ErrorBody"] = ErrorBody.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(schemas["ErrorBody"].pop("$defs", {}))
    components["securitySchemes"] = {"key": _KEY}
    for operations in made["paths"].values():
        for operation in operations.values():
            _tell_errors(operation["responses"])
            operation["security"] = [{"key": []}, {}]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return made


def _tell_errors(responses: dict[str, Any]) -> None:
    """FastAPI's own 422 is never sent: what is not valid is answered with 400, in OpenAI's form."""
    if "HTTPValidationError" in str(responses.get("422", "")):
        del responses["422"]
    for status, told in _ERRORS.items():
        responses.setdefault(status, {"description": told, "content": {"application/json": {"schema": _REF}}})
