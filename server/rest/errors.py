"""Errors as the clients of OpenAI's API know them: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import logging
import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from antiphon.engines.errors import (
    AntiphonError,
    EngineError,
    EngineOutOfOrder,
    EngineOverloaded,
    EngineRequestInvalid,
    EngineTimeout,
    RequestPart,
)
from antiphon.pipeline.errors import AudioInputError
from antiphon.server.access.principal import Denied
from antiphon.server.names import UnknownName
from antiphon.server.rest.access import ClientGone
from antiphon.server.rest.mistakes import mistake
from antiphon.server.service import Refused

logger = logging.getLogger(__name__)

_MOMENT_S = 2.0

_PARAMS: dict[RequestPart, str] = {"language": "language", "messages": "messages", "schema": "response_format"}
"""By what engines call the parts of a request: what clients do."""


class ApiError(Exception):
    """A request that cannot be answered.

    :param retry_after_s: of those with status 503, when another try may be worth it; None: in a moment.
    """

    def __init__(
        self, status: int, code: str, message: str, *, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = _MOMENT_S if retry_after_s is None else retry_after_s


def error_response(
    status: int, code: str, message: str, *, param: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    return JSONResponse(error_body(status, code, message, param=param), status_code=status, headers=headers)


def error_body(status: int, code: str, message: str, *, param: str | None = None) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def refusal(why: Refused) -> Response:
    return error_response(503, why.code, why.message, headers={"Retry-After": str(why.retry_after_s)})


def denial(why: Denied) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if why.status == 401 else None
    return error_response(why.status, why.code, why.message, headers=headers)


def as_api_error(error: AntiphonError) -> ApiError:
    """What an engine or an input said, with a status. Hints are for whoever runs the server, and stay here."""
    match error:
        case AudioInputError():
            return ApiError(400, "invalid_audio", error.message, param="file")
        case EngineRequestInvalid(about="length"):
            return ApiError(400, "context_length_exceeded", error.message, param="messages")
        case EngineRequestInvalid(about=about):
            param = _PARAMS.get(about) if about is not None else None
            return ApiError(
                400, "invalid_request", f"{param}: {error.message}" if param else error.message, param=param
            )
        case EngineOverloaded():
            message = "the server has too much to do; try again in a moment"
            return ApiError(503, "overloaded", message, retry_after_s=error.retry_after_s)
        case EngineOutOfOrder():
            return ApiError(503, "out_of_order", error.message, retry_after_s=error.retry_after_s)
        case EngineTimeout():
            return ApiError(504, "timeout", "an engine of this server did not answer in time")
    if isinstance(error, EngineError):  # its words may name what stands behind this server
        return ApiError(500, "engine_failed", "an engine of this server failed; the server's log says more")
    return ApiError(500, "engine_failed", error.message)


_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


def _methods(request: Request) -> str:
    """All that may be done at a path: several routes may share it, each with its own."""
    routes = request.app.routes
    found = (
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    )
    return ", ".join(found)


def _is_for_sockets(request: Request) -> bool:
    """Whether there is a WebSocket where a plain request came."""
    scope = {**request.scope, "type": "websocket"}
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)


def install(app: FastAPI) -> None:
    """Answer every error of the application in that form."""

    async def api_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        headers = {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))} if error.status == 503 else None
        return error_response(error.status, error.code, error.message, param=error.param, headers=headers)

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, AntiphonError)
        told = as_api_error(error)
        if told.status >= 500:
            about = {"path": request.url.path, "error": type(error).__name__, "reason": str(error)}
            logger.warning("a request failed", extra=about)
        return await api_error(request, told)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        return refusal(error)

    async def denied(request: Request, error: Exception) -> Response:
        assert isinstance(error, Denied)
        return denial(error)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        param, message = mistake(error.errors(), error.body)
        return error_response(400, "invalid_request", message, param=param)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}.get(error.status_code, "invalid_request")
        message = f"{request.method} {request.url.path}: {error.detail}"
        headers = dict(error.headers or {})
        if error.status_code == 404 and _is_for_sockets(request):
            message = f"{request.url.path} is for WebSockets: connect to it by ws:// or wss://"
            return error_response(426, "websocket_required", message, headers={"Upgrade": "websocket"})
        if error.status_code == 405:
            headers["Allow"] = _methods(request)
        return error_response(error.status_code, code, message, headers=headers)

    async def unknown(request: Request, error: Exception) -> Response:
        return error_response(404, "model_not_found", f"the model {error}", param="model")

    async def gone(request: Request, error: Exception) -> Response:
        return error_response(499, "client_gone", "the connection was closed before there was an answer")

    async def broken(request: Request, error: Exception) -> Response:
        return error_response(500, "internal_error", "the server broke here; its log says how")

    app.add_exception_handler(Exception, broken)  # and it is logged, with its traceback
    app.add_exception_handler(ApiError, api_error)
    app.add_exception_handler(ClientGone, gone)
    app.add_exception_handler(UnknownName, unknown)
    app.add_exception_handler(AntiphonError, ours)
    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(Denied, denied)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
