"""What `/openapi.json` says of every route, whoever wrote it: its name, its errors in their one form, and its keys."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from antiphon.server.access.routes import rule_for
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
_ABOUT = """\
A voice assistant of your own: speech to text, a language model or an agent, and text to speech, as calls that clients
of OpenAI's API make already (`base_url` is this address with `/v1`).

- Names of models and voices mean the configured ones, unless `server.aliases` says otherwise.
- Errors are `{"error": {"message", "type", "param", "code"}}`; `param` is the place in the request. Every answer has an
  `x-request-id`, which is in the server's log too.
- Conversations are WebSockets, which are not described here: `/v1/realtime` (OpenAI Realtime), `/v1/stream` (PCM both
  ways), `/v1/telephony/twilio`.
"""
_TAGS = {
    "audio": "Recordings to text, text to speech.",
    "chat": "The language model of the chain, or the whole workflow (model `antiphon-agent`), in text.",
    "models": "What can be asked for.",
    "realtime": "Conversations over WebRTC, and keys for browsers.",
    "console": "What was said, what waits for a yes, how the server is.",
    "operating": "Figures, conversations under way, another configuration.",
    "health": "For whoever watches the server. No key is needed.",
}


def describe(app: FastAPI) -> None:
    """Let the application describe itself so; it looks at its routes when it is first asked."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app)
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def _described(app: FastAPI) -> dict[str, Any]:
    tags = [{"name": name, "description": told} for name, told in _TAGS.items()]
    made = get_openapi(title=app.title, version=app.version, description=_ABOUT, tags=tags, routes=app.routes)
    components = made.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["ErrorBody"] = ErrorBody.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(schemas["ErrorBody"].pop("$defs", {}))
    components["securitySchemes"] = {"key": _KEY}
    for path, operations in made["paths"].items():
        for operation in operations.values():
            _tell_errors(operation["responses"])
            operation["security"] = [] if rule_for(path).needs == "public" else [{"key": []}, {}]
            operation["tags"] = list(dict.fromkeys(operation["tags"]))  # a router within a router gives them twice
            operation["summary"] = operation["summary"].strip()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return made


def operation_name(route: APIRoute) -> str:
    """What clients that are made of the description call a route: its function's name, and what it is about where that
    does not say so."""
    name = route.name.strip("_")
    about = next((part for part in reversed(route.path.split("/")) if part and not part.startswith("{")), name)
    return name if name in about or about.rstrip("s") in name else f"{name}_{about}"


def _tell_errors(responses: dict[str, Any]) -> None:
    """FastAPI's own 422 is never sent: what is not valid is answered with 400, in OpenAI's form."""
    if "HTTPValidationError" in str(responses.get("422", "")):
        del responses["422"]
    for status, told in _ERRORS.items():
        responses.setdefault(status, {"description": told, "content": {"application/json": {"schema": _REF}}})
