"""The console's routes."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import RedirectResponse, Response

from antiphon.server.console import api
from antiphon.server.console.files import HEADERS, Files
from antiphon.server.rest.errors import error_response


def install(app: FastAPI) -> None:
    """Add the page, its files and its calls to the application."""
    files = Files()
    pages = APIRouter(include_in_schema=False)

    async def page(request: Request, name: str = "") -> Response:
        found = files.response(name, request)
        if found is None:
            return error_response(404, "not_found", "the console has no such file", headers=dict(HEADERS))
        return found

    async def to_console(request: Request) -> Response:
        root = request.scope.get("root_path", "")
        return RedirectResponse(f"{root}/console/", status_code=307)

    app.state.console = api.Memory(files.edition)
    app.include_router(api.router)
    pages.add_api_route("/", to_console, methods=["GET", "HEAD"])
    pages.add_api_route("/console", to_console, methods=["GET", "HEAD"])
    pages.add_api_route("/console/{name:path}", page, methods=["GET", "HEAD"])
    app.include_router(pages)
