"""MCP servers that a client names for tools of its session: `tools` of the type `mcp`, and the items they bring about.

What a client gives for a server to know it by (`headers`, `authorization`, the query of its address) is never told
again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from antiphon.engines.protocols import ToolSpec
from antiphon.server.realtime.protocol.items import Wire

MAX_NAMES = 256
Name = Annotated[str, Field(min_length=1, max_length=256)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", max_length=128)]
HeaderValue = Annotated[str, Field(pattern=r"^[\t -~]*$", max_length=8192)]
NOT_FOR_CLIENTS = frozenset(
    ("connection", "content-length", "content-type", "expect", "forwarded", "host", "keep-alive", "mcp-session-id",
     "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)  # fmt: skip
"""Headers that say how a message travels, or to whom: with those, a client could reach what is not allowed."""


class FilterFields(Wire):
    """Some of a server's tools."""

    tool_names: list[Name] | None = Field(default=None, max_length=MAX_NAMES)
    read_only: bool | None = None


class ApprovalFields(Wire):
    """Which calls need a yes. A tool that is in neither needs one."""

    always: FilterFields | None = None
    never: FilterFields | None = None


class McpToolFields(Wire):
    """All tools of one MCP server."""

    type: Literal["mcp"]
    server_label: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
    server_url: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    connector_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    tunnel_id: Annotated[str, Field(max_length=256)] | None = None
    authorization: HeaderValue | None = Field(default=None, repr=False)
    headers: dict[HeaderName, HeaderValue] | None = Field(default=None, max_length=32, repr=False)
    allowed_tools: Annotated[list[Name], Field(max_length=MAX_NAMES)] | FilterFields | None = None
    require_approval: Literal["always", "never"] | ApprovalFields | None = None
    server_description: Annotated[str, Field(max_length=20_000)] | None = None
    defer_loading: bool | None = None
    allowed_callers: list[Literal["direct", "programmatic"]] | None = Field(default=None, max_length=2)

    @model_validator(mode="after")
    def _one_way_to_it(self) -> McpToolFields:
        if self.tunnel_id is not None:
            raise ValueError("this server has no tunnels; give server_url")
        if self.server_url is not None and self.connector_id is not None:
            raise ValueError("give server_url or connector_id, not both")
        wrong = sorted(name for name in self.headers or {} if name.lower() in NOT_FOR_CLIENTS)
        if wrong:
            raise ValueError(f"the header '{wrong[0]}' is not the client's to set")
        if self.authorization is not None and "authorization" in {name.lower() for name in self.headers or {}}:
            raise ValueError("give authorization or the header Authorization, not both")
        return self


@dataclass(frozen=True, slots=True)
class ToolFilter:
    """Some of a server's tools; with neither condition, all."""

    names: tuple[str, ...] | None = None
    read_only: bool | None = None
    """As the server says of its tool; what it does not say counts as False."""

    def has(self, name: str, read_only: bool) -> bool:
        by_name = self.names is None or name in self.names
        return by_name and (self.read_only is None or self.read_only == read_only)

    def to_wire(self) -> dict[str, Any]:
        wire: dict[str, Any] = {} if self.names is None else {"tool_names": list(self.names)}
        return wire if self.read_only is None else {**wire, "read_only": self.read_only}


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Which calls need a yes of the client's: all, none, or by tool."""

    every: bool | None = True
    """None: `always` and `never` say it."""
    always: ToolFilter | None = None
    never: ToolFilter | None = None

    def needed(self, name: str, read_only: bool) -> bool:
        if self.every is not None:
            return self.every
        if self.always is not None and self.always.has(name, read_only):
            return True
        return self.never is None or not self.never.has(name, read_only)

    def to_wire(self) -> Any:
        if self.every is not None:
            return "always" if self.every else "never"
        sides = (("always", self.always), ("never", self.never))
        return {name: side.to_wire() for name, side in sides if side is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class McpServer:
    """One as a client names it."""

    label: str
    url: str | None = field(default=None, repr=False)
    connector: str | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """With the authorization."""
    allowed: ToolFilter = ToolFilter()
    names_only: bool = False
    """`allowed_tools` was a list of names."""
    approval: Approval = Approval()
    description: str = ""
    deferred: bool | None = None
    direct: bool = True
    """The model may call its tools."""

    @property
    def way(self) -> tuple[Any, ...]:
        """What a connection to it depends on."""
        return self.label, self.url, self.connector, self.headers

    def reached_as(self, known: McpServer | None) -> McpServer:
        """The same, reached as another is that the client has told of, where it says nothing of its own."""
        if known is None or self.url is not None or self.connector is not None or self.headers:
            return self
        return replace(self, url=known.url, connector=known.connector, headers=known.headers)

    def to_wire(self) -> dict[str, Any]:
        """As it is told back: without what a client keeps secret."""
        wire: dict[str, Any] = {"type": "mcp", "server_label": self.label}
        if self.url is not None:
            wire["server_url"] = urlsplit(self.url)._replace(query="", fragment="").geturl()
        if self.connector is not None:
            wire["connector_id"] = self.connector
        if self.allowed != ToolFilter():
            wire["allowed_tools"] = list(self.allowed.names or ()) if self.names_only else self.allowed.to_wire()
        wire["require_approval"] = self.approval.to_wire()
        if self.description:
            wire["server_description"] = self.description
        return wire if self.deferred is None else {**wire, "defer_loading": self.deferred}


@dataclass(frozen=True, slots=True)
class HostedTool:
    """A tool of an MCP server as the model is offered it."""

    spec: ToolSpec
    """Under a name that no other tool of the response has."""
    server: McpServer
    name: str
    """On its server."""
    read_only: bool = False

    @property
    def needs_approval(self) -> bool:
        return self.server.approval.needed(self.name, self.read_only)


@dataclass(frozen=True, slots=True)
class McpChoice:
    """A tool of this server must be called; with a name, that one."""

    label: str
    name: str | None = None

    def to_wire(self) -> dict[str, Any]:
        wire = {"type": "mcp", "server_label": self.label}
        return wire if self.name is None else {**wire, "name": self.name}


def server_of(fields: McpToolFields) -> McpServer:
    headers = dict(fields.headers or {})
    if fields.authorization is not None:
        token = fields.authorization
        headers["Authorization"] = token if token.lower().startswith("bearer ") else f"Bearer {token}"
    allowed = fields.allowed_tools
    return McpServer(
        label=fields.server_label,
        url=fields.server_url,
        connector=fields.connector_id,
        headers=tuple(sorted(headers.items())),
        allowed=ToolFilter(tuple(allowed)) if isinstance(allowed, list) else _filter(allowed) or ToolFilter(),
        names_only=isinstance(allowed, list),
        approval=_approval(fields.require_approval),
        description=fields.server_description or "",
        deferred=fields.defer_loading,
        direct=fields.allowed_callers is None or "direct" in fields.allowed_callers,
    )


def _filter(fields: FilterFields | None) -> ToolFilter | None:
    if fields is None:
        return None
    return ToolFilter(None if fields.tool_names is None else tuple(fields.tool_names), fields.read_only)


def _approval(fields: str | ApprovalFields | None) -> Approval:
    if isinstance(fields, ApprovalFields):
        return Approval(every=None, always=_filter(fields.always), never=_filter(fields.never))
    return Approval(every=fields != "never")


# ------------------------------------------------------------------------------------------ items


def list_item(item_id: str, label: str, tools: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """The tools that a server has. (Items of MCP have neither `object` nor `status` in the protocol.)"""
    return {"id": item_id, "type": "mcp_list_tools", "server_label": label, "tools": list(tools)}


def tool_to_wire(name: str, description: str, schema: Mapping[str, Any], annotations: Mapping[str, Any] | None) -> Any:
    """One of them."""
    wire = {"name": name, "description": description, "input_schema": dict(schema)}
    return wire if not annotations else {**wire, "annotations": dict(annotations)}


def approval_request_item(item_id: str, label: str, name: str, arguments: str) -> dict[str, Any]:
    wire = {"id": item_id, "type": "mcp_approval_request", "server_label": label, "name": name}
    return {**wire, "arguments": arguments}


def approval_response_item(item_id: str, request_id: str, approve: bool, reason: str | None) -> dict[str, Any]:
    wire = {"id": item_id, "type": "mcp_approval_response", "approval_request_id": request_id, "approve": approve}
    return wire if reason is None else {**wire, "reason": reason}


CallErrorType = Literal["protocol_error", "tool_execution_error", "http_error"]


@dataclass(frozen=True, slots=True)
class CallError:
    """Why a call gave nothing."""

    type: CallErrorType
    message: str
    code: int = 0
    """Of JSON-RPC, or of HTTP; errors of the tool itself have none."""

    def to_wire(self) -> dict[str, Any]:
        wire: dict[str, Any] = {"type": self.type, "message": self.message}
        return wire if self.type == "tool_execution_error" else {**wire, "code": self.code}


def call_item(
    item_id: str,
    label: str,
    name: str,
    arguments: str,
    *,
    output: str | None = None,
    error: CallError | None = None,
    request_id: str | None = None,
) -> dict[str, Any]:
    """:param output: None, and told as null, until there is one: a real client throws where the key is missing."""
    wire: dict[str, Any] = {"id": item_id, "type": "mcp_call", "server_label": label, "name": name}
    wire |= {"arguments": arguments, "output": output}
    if error is not None:
        wire["error"] = error.to_wire()
    return wire if request_id is None else {**wire, "approval_request_id": request_id}
