"""What the door answers: errors as clients of OpenAI's API know them."""

from __future__ import annotations

import math

from fastapi import FastAPI, Request
from starlette.responses import Response

from antiphon.server.access.access import Limited
from antiphon.server.rest.errors import error_response


def limitation(why: Limited) -> Response:
    headers = {"Retry-After": str(max(1, math.ceil(why.retry_after_s)))}
    return error_response(429, why.code, why.message, headers=headers)


def broken(request_id: str) -> Response:
    message = f"the server broke here; its log says how (request {request_id})"
    return error_response(500, "internal_error", message)


def install(app: FastAPI) -> None:
    """Answer what is limited behind the door, too."""

    async def limited(request: Request, error: Exception) -> Response:
        assert isinstance(error, Limited)
        return limitation(error)

    app.add_exception_handler(Limited, limited)
