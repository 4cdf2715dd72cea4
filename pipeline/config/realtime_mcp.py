"""The section `server.realtime.mcp`: the MCP servers that clients of the Realtime protocol may have tools of."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from antiphon.engines.config import option
from antiphon.pipeline.config.tools import VariableName


def _address(url: str) -> str:
    """:raises ValueError: it is no plain address."""
    parts = urlsplit(url)
    try:
        port_is_one = parts.port is None or parts.port > 0
    except ValueError:
        port_is_one = False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_one:
        raise ValueError(f"'{url}' is no address: write http:// or https://, a host, and perhaps a port and a path")
    if "@" in parts.netloc or parts.query or parts.fragment or "/." in parts.path or "\\" in url or "%" in parts.path:
        raise ValueError(f"'{url}' has more than a host, a port and a plain path; secrets go into auth_env")
    return url


Address = Annotated[str, AfterValidator(_address)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$", max_length=64)]


class McpServerKeys(BaseModel):
    """An MCP server of the operator's, which clients may name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Address = option(..., "Its address (streamable HTTP).", examples=["http://127.0.0.1:9000/mcp"])
    auth_env: VariableName | None = option(
        None, "Name of the environment variable with its secret, sent as a bearer token."
    )
    headers_env: dict[str, VariableName] = option(
        {}, "Further HTTP headers, as header name to name of an environment variable."
    )


class McpKeys(BaseModel):
    """MCP servers for the tools of a client's session. Nothing is allowed until something stands here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    allow: tuple[Address, ...] = option(
        (),
        "Where a client may have the server connect to (`server_url`): addresses, each with all below its path.",
        examples=[["https://tools.example/mcp"]],
    )
    servers: dict[Label, McpServerKeys] = option(
        {}, "Servers by the label with which a client names them (`server_label` without `server_url`)."
    )
    max_servers: int = option(8, "MCP servers of one session; one more is refused.", ge=1, le=64)
    max_tools: int = option(64, "Tools of one MCP server; those beyond are left out.", ge=1, le=256)
    connect_timeout_s: float = option(
        10.0, "How long a server may take to be there and to list its tools.", unit="s", gt=0, le=60
    )
    call_timeout_s: float = option(30.0, "How long a call may take; then it has failed.", unit="s", gt=0, le=600)
    max_calls: int = option(8, "Calls of one session at the same time; one more fails.", ge=1, le=64)
    max_answer_kb: int = option(
        1024,
        "The longest answer of a server that is read; with a longer one a call fails.",
        unit="kB",
        ge=1,
        le=65536,
    )
    max_output_chars: int = option(
        16_000, "What of a result goes into the conversation; the rest of it is cut off, and said to be.", ge=100
    )
