"""Operations of an HTTP API as tools, from its OpenAPI 3 description.

An operation's parameters and the properties of its JSON body become the tool's arguments; its `summary` and
`description` tell the model what it is for. Requests are made with httpx; the secret comes from an environment variable
and is sent as the description's security scheme says.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urljoin

import httpx2
import yaml
from agents import FunctionTool
from agents.tool_context import ToolContext

from antiphon.engines.net import is_loopback
from antiphon.pipeline.agent.desk import ToolFailed, failure_text
from antiphon.pipeline.agent.secrets import secret, secret_headers
from antiphon.pipeline.config.tools import ToolConfig
from antiphon.pipeline.errors import WorkflowError

logger = logging.getLogger(__name__)

METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
LONGEST_ANSWER = 4000
"""Characters of an answer that the model sees: more would be most of its context."""
_DEEPEST = 12
"""How deep references are followed; a schema that holds itself is cut off there."""


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    place: str
    """"path", "query" or "header"."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of an API."""

    id: str
    method: str
    path: str
    description: str
    schema: dict[str, Any]
    """JSON Schema of the tool's arguments."""
    parameters: tuple[Parameter, ...]
    body: tuple[str, ...] | None
    """Arguments that make up the JSON body; None: there is none. `("body",)` with `whole_body`: it is the body."""
    whole_body: bool = False


@dataclass(slots=True)
class Api:
    """A description that was read, and how to reach what it describes."""

    place: str
    document: Mapping[str, Any]
    base_url: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    query: dict[str, str] = field(default_factory=dict, repr=False)
    client: httpx2.AsyncClient | None = None

    def tools(self, wanted: tuple[str, ...]) -> list[FunctionTool]:
        """Tools for the wanted operations.

        :raises WorkflowError: there is no such operation, or one that cannot be a tool.
        """
        found = {operation_id: (path, method, item) for operation_id, path, method, item in self._operations()}
        missing = [name for name in wanted if name not in found]
        if missing:
            known = ", ".join(sorted(found)) or "none (operations need an operationId)"
            raise WorkflowError(f"{self.place}.operations: there is no operation '{missing[0]}'; there is: {known}")
        return [self._tool(self._operation(name, *found[name])) for name in wanted]

    def _operations(self) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
        paths = self.document.get("paths")
        for path, item in (paths if isinstance(paths, dict) else {}).items():
            for method in METHODS:
                operation = item.get(method) if isinstance(item, dict) else None
                if isinstance(operation, dict) and "operationId" in operation:
                    yield str(operation["operationId"]), str(path), method, {**operation, "_shared": item}

    def _operation(self, name: str, path: str, method: str, given: Mapping[str, Any]) -> Operation:
        properties: dict[str, Any] = {}
        required: list[str] = []
        parameters: dict[str, Parameter] = {}
        for raw in (*given["_shared"].get("parameters", ()), *given.get("parameters", ())):
            parameter = self._resolved(raw)
            if parameter.get("in") not in ("path", "query", "header"):
                continue  # cookies
            key = str(parameter["name"])
            parameters[key] = Parameter(key, parameter["in"])
            properties[key] = _described(self._resolved(parameter.get("schema", {})), parameter.get("description"))
            if parameter.get("required") or parameter["in"] == "path":
                required.append(key)
        body, whole = self._body(name, given, properties, required)
        texts = [str(given[key]).strip() for key in ("summary", "description") if given.get(key)]
        schema = {"type": "object", "properties": properties, "required": list(dict.fromkeys(required))}
        return Operation(
            name, method.upper(), path, "\n".join(texts) or name, schema, tuple(parameters.values()), body, whole
        )

    def _body(
        self, name: str, given: Mapping[str, Any], properties: dict[str, Any], required: list[str]
    ) -> tuple[tuple[str, ...] | None, bool]:
        if "requestBody" not in given:
            return None, False
        request = self._resolved(given["requestBody"])
        kinds = request.get("content", {})
        kind = next((one for one in kinds if one.partition(";")[0].strip().endswith("json")), None)
        if kind is None:
            raise WorkflowError(
                f"{self.place}.operations: the body of '{name}' is {', '.join(kinds) or 'of no kind'}; only JSON works"
            )
        schema = self._resolved(kinds[kind].get("schema", {}))
        inner = schema.get("properties")
        if isinstance(inner, dict) and not set(inner) & set(properties):
            properties.update(inner)
            required.extend(schema.get("required", ()))
            return tuple(inner), False
        properties["body"] = schema
        if request.get("required"):
            required.append("body")
        return ("body",), True

    def _resolved(self, node: Any, depth: int = 0) -> Any:
        """A part of the description with its references replaced by what they refer to."""
        if depth > _DEEPEST:
            return {}
        if isinstance(node, list):
            return [self._resolved(item, depth + 1) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return self._resolved(self._referred(str(node["$ref"])), depth + 1)
        found = {key: self._resolved(value, depth + 1) for key, value in node.items()}
        if found.pop("nullable", False) is True and isinstance(found.get("type"), str):
            found["type"] = [found["type"], "null"]
        return found

    def _referred(self, reference: str) -> Any:
        if not reference.startswith("#/"):
            raise WorkflowError(f"{self.place}: the reference '{reference}' leads out of the description")
        found: Any = self.document
        for part in reference[2:].split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or key not in found:
                raise WorkflowError(f"{self.place}: the reference '{reference}' leads nowhere")
            found = found[key]
        return found

    # ------------------------------------------------------------------------ calling

    def _tool(self, operation: Operation) -> FunctionTool:
        async def invoke(context: ToolContext[Any], arguments: str) -> str:
            try:
                return await self.call(operation, json.loads(arguments or "{}"))
            except ToolFailed as error:
                return error.message
            except Exception as error:
                logger.warning("a request failed", extra={"operation": operation.id, "code": type(error).__name__})
                return failure_text(operation.id, error)

        return FunctionTool(operation.id, operation.description, operation.schema, invoke, strict_json_schema=False)

    async def call(self, operation: Operation, arguments: Mapping[str, Any]) -> str:
        """Make one request. The answer's body, cut to :data:`LONGEST_ANSWER`.

        :raises ToolFailed: the service refused it.
        :raises httpx2.HTTPError: it could not be reached.
        """
        assert self.client is not None, "the API has not been opened"
        path, query, headers = operation.path, dict(self.query), dict(self.headers)
        for parameter in operation.parameters:
            if parameter.name not in arguments:
                continue
            value = arguments[parameter.name]
            if parameter.place == "path":
                path = path.replace("{" + parameter.name + "}", quote(_plain(value), safe=""))
            elif parameter.place == "query":
                query[parameter.name] = _plain(value)
            else:
                headers[parameter.name] = _plain(value)
        body: Any = None
        if operation.body is not None:
            body = {key: arguments[key] for key in operation.body if key in arguments}
            body = body.get("body") if operation.whole_body else body
        response = await self.client.request(
            operation.method, self.base_url.rstrip("/") + path, params=query, headers=headers, json=body
        )
        if response.is_error:
            logger.warning(
                "a service refused a request", extra={"operation": operation.id, "status": response.status_code}
            )
            raise ToolFailed(f"The service refused it ({response.status_code}): {_cut(response.text, 300)}")
        return _cut(response.text, LONGEST_ANSWER) or "Done."


async def open_api(name: str, tool: ToolConfig, client: httpx2.AsyncClient, *, offline: bool) -> Api:
    """Read the description that a configuration names.

    :raises WorkflowError: it cannot be read, it is no OpenAPI 3, a secret is missing, or the API is not on this machine
        although nothing may leave it.
    """
    place = f"workflow.tools.{name}"
    document, origin = await _document(place, tool, client, offline=offline)
    if not str(document.get("openapi", "")).startswith("3"):
        raise WorkflowError(f"{place}: {origin} is no OpenAPI 3 description (it has no `openapi: 3...`)")
    base_url = tool.base_url or _first_server(document, tool.openapi_url)
    if not base_url.startswith(("http://", "https://")):
        raise WorkflowError(f"{place}: {origin} names no server", hint=f"add `base_url` to {place}")
    if offline and not is_loopback(base_url):
        raise WorkflowError(
            f"{place}: the API at '{base_url}' is not on this machine, and session.offline is true",
            hint="set `session: {offline: false}` to allow it",
        )
    api = Api(place, document, base_url, secret_headers(tool.headers_env, place), client=client)
    if tool.auth_env is not None:
        _authorize(api, secret(tool.auth_env, f"{place}.auth_env"))
    return api


async def _document(
    place: str, tool: ToolConfig, client: httpx2.AsyncClient, *, offline: bool
) -> tuple[dict[str, Any], str]:
    origin = str(tool.openapi or tool.openapi_url)
    try:
        if tool.openapi is not None:
            text = await asyncio.to_thread(tool.openapi.read_text, "utf-8")
        else:
            assert tool.openapi_url is not None
            if offline and not is_loopback(tool.openapi_url):
                raise WorkflowError(
                    f"{place}.openapi_url: '{origin}' is not on this machine, and session.offline is true",
                    hint="set `session: {offline: false}` to allow it",
                )
            response = await client.get(tool.openapi_url, timeout=tool.connect_timeout_s)
            response.raise_for_status()
            text = response.text
        document = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, httpx2.HTTPError) as error:
        raise WorkflowError(f"{place}: {origin} cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(document, dict):
        raise WorkflowError(f"{place}: {origin} is no OpenAPI 3 description (it is no mapping)")
    return document, origin


def _first_server(document: Mapping[str, Any], origin: str | None) -> str:
    servers = document.get("servers")
    first = servers[0] if isinstance(servers, list) and servers else {}
    url = str(first.get("url", "")) if isinstance(first, dict) else ""
    return urljoin(origin, url or "/") if origin else url


def _authorize(api: Api, value: str) -> None:
    """Put the secret where the description's (first) security scheme wants it."""
    schemes = api._resolved(api.document.get("components", {}).get("securitySchemes", {}))
    wanted = [name for one in api.document.get("security", ()) for name in one]
    name = next((name for name in (*wanted, *schemes) if name in schemes), None)
    scheme = schemes[name] if name is not None else {"type": "http", "scheme": "bearer"}
    kind, where = scheme.get("type"), scheme.get("in")
    if kind == "apiKey" and where in ("header", "query"):
        (api.headers if where == "header" else api.query)[str(scheme["name"])] = value
    elif kind == "http" and str(scheme.get("scheme", "")).lower() == "basic":
        api.headers["Authorization"] = f"Basic {base64.b64encode(value.encode()).decode()}"
    elif kind in ("http", "oauth2", "openIdConnect"):
        api.headers["Authorization"] = f"Bearer {value}"
    else:
        raise WorkflowError(f"{api.place}.auth_env: a secret of the kind '{kind}' in '{where}' cannot be sent")


def _described(schema: Any, description: Any) -> Any:
    if isinstance(schema, dict) and description and "description" not in schema:
        return {**schema, "description": str(description)}
    return schema


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(_plain(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]} ... (cut)"
