"""What a client may have the server connect to: where the configuration allows it, and nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from antiphon.engines.net import is_loopback
from antiphon.pipeline.agent.secrets import secret, secret_headers
from antiphon.pipeline.config.realtime_mcp import McpKeys
from antiphon.pipeline.errors import WorkflowError
from antiphon.server.realtime.protocol import McpServer, ProtocolError

logger = logging.getLogger(__name__)

KEYS = "server.realtime.mcp"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a connection goes, and how far it may go from there."""

    url: str = field(repr=False)
    within: str
    """An address; all that is below its path is allowed."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class Allowing:
    """By one configuration."""

    def __init__(self, keys: McpKeys, *, offline: bool) -> None:
        """:param offline: nothing may leave this machine."""
        self.keys = keys
        self._offline = offline

    def check_all(self, servers: Sequence[McpServer], place: str) -> None:
        """
        :param place: `session` or `response`.
        :raises ProtocolError: one may not be reached, or they are too many.
        """
        if len(servers) > self.keys.max_servers:
            raise too_many(self.keys.max_servers, place)
        for server in servers:
            self.check(server, f"{place}.tools")

    def check(self, server: McpServer, param: str) -> None:
        """
        :param param: its place in the event.
        :raises ProtocolError: it may not be reached; says which key of the configuration would have to say otherwise.
        """
        address = self._address(server, param)
        if self._offline and not is_loopback(address):
            raise ProtocolError(
                f"The MCP server '{server.label}' is not on this machine, and the server is configured to reach "
                "nothing else (session.offline: true).",
                code="mcp_server_not_allowed",
                param=param,
            )

    def target(self, server: McpServer) -> Target:
        """Where to connect.

        :raises ProtocolError: it may not be reached, or what the operator has to give for it is not there.
        """
        self.check(server, "tools")
        headers = dict(server.headers)
        if server.url is not None:
            within = next(one for one in self.keys.allow if is_below(server.url, one))
            return Target(server.url, within, headers)
        name = server.connector or server.label
        keys = self.keys.servers[name]
        place = f"{KEYS}.servers.{name}"
        try:
            own = secret_headers(keys.headers_env, place)
            if keys.auth_env is not None:
                own["Authorization"] = f"Bearer {secret(keys.auth_env, f'{place}.auth_env')}"
        except WorkflowError as error:
            logger.warning("an MCP server for clients lacks a secret", extra={"problem": error.message})
            raise ProtocolError(
                f"The MCP server '{server.label}' is not ready: its operator has not given it all that it needs.",
                code="mcp_server_not_ready",
                type="server_error",
            ) from None
        taken = {header.lower() for header in own}  # the operator's go before the client's
        kept = {header: value for header, value in headers.items() if header.lower() not in taken}
        return Target(keys.url, keys.url, {**kept, **own})

    def _address(self, server: McpServer, param: str) -> str:
        if server.url is None:
            return self._configured(server, param)
        if any(is_below(server.url, one) for one in self.keys.allow):
            return server.url
        if not self.keys.allow:
            why = f"it connects to no address that a client names: {KEYS}.allow is empty"
        else:
            why = f"its address is below none of those in {KEYS}.allow"
        raise ProtocolError(
            f"The MCP server '{server.label}' is not allowed here: {why}.",
            code="mcp_server_not_allowed",
            param=f"{param}.server_url",
        )

    def _configured(self, server: McpServer, param: str) -> str:
        name = server.connector or server.label
        if name in self.keys.servers:
            return self.keys.servers[name].url
        known = ", ".join(sorted(self.keys.servers)) or "none"
        what = f"connector '{name}'" if server.connector else f"MCP server with the label '{name}'"
        raise ProtocolError(
            f"There is no {what} here. Name one of {KEYS}.servers (there is: {known}), or give a server_url that "
            f"{KEYS}.allow allows.",
            code="mcp_server_not_allowed",
            param=f"{param}.{'connector_id' if server.connector else 'server_label'}",
        )


def too_many(most: int, place: str) -> ProtocolError:
    return ProtocolError(
        f"A session may have {most} MCP servers ({KEYS}.max_servers).",
        code="too_many_mcp_servers",
        param=f"{place}.tools",
    )


def is_below(url: str, allowed: str) -> bool:
    """Whether an address is another one, or below its path. What could be read in two ways is not."""
    try:
        one, other = urlsplit(url), urlsplit(allowed)
        same = _origin(one) == _origin(other)
    except ValueError:
        return False
    if not same or not _is_plain(url, one):
        return False
    path, root = one.path or "/", other.path or "/"
    return path == root or path.startswith(root if root.endswith("/") else f"{root}/")


def _origin(parts: SplitResult) -> tuple[str, str, int | None]:
    host = (parts.hostname or "").rstrip(".")
    return parts.scheme, host, parts.port or _PORTS.get(parts.scheme)


def _is_plain(url: str, parts: SplitResult) -> bool:
    """No names and passwords, no steps upwards, nothing that is written in code."""
    if "@" in parts.netloc or parts.fragment or "\\" in url or "%" in parts.path or not url.isascii():
        return False
    if any(character.isspace() or not character.isprintable() for character in url) or "//" in parts.path:
        return False
    return not any(step in (".", "..") for step in parts.path.split("/"))
