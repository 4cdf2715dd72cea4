"""By which name the server is called, and from which pages: what keeps other people's web pages out.

A browser lets any page send requests to any address, this machine's too, and only then asks whether the page may read
the answer. So a server that asks for no key must look at what browsers add and pages cannot forge: `Origin` (a page of
another site sends the request), `Sec-Fetch-Site` (the same, where `Origin` is not sent), and `Host` (a page whose own
name was pointed at this machine, "DNS rebinding", is no other site to the browser, but calls the server by that name).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.engines.net import is_loopback
from antiphon.pipeline.config.model import ServerConfig
from antiphon.server.access.addresses import entry_for
from antiphon.server.rest.errors import error_response
from antiphon.server.service import Service

_HEALTH = frozenset({"/healthz", "/readyz"})
"""Orchestrators ask from addresses of their own; the answers hold nothing."""
LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
_HOST = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?")
EXPOSED = (
    "Location",
    "Retry-After",
    "x-request-id",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
)
"""Headers of an answer that pages of allowed origins may read."""


class Door:
    """ASGI middleware: requests from an address that is not meant (403), by a wrong name (400), from a foreign page
    (403) or with a huge head (431) end here."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        settings = self._service.settings
        headers = Headers(scope=scope)
        client = scope.get("client")
        if (
            settings.allowed_addresses
            and scope["path"] not in _HEALTH
            and entry_for(client[0] if client else "", settings.allowed_addresses) is None
        ):
            return await self._refuse(403, "address", "this address may not send requests")(scope, receive, send)
        if sum(len(name) + len(value) for name, value in headers.raw) > settings.max_header_kb * 1024:
            message = f"the head of the request is longer than {settings.max_header_kb} kB (server.max_header_kb)"
            return await self._refuse(431, "too_large", message)(scope, receive, send)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not _is_ours(hosts[0], settings, self._service.access.host):
            message = "the server does not go by this name; allow it with server.allowed_hosts"
            return await self._refuse(400, "host", message)(scope, receive, send)
        if (origin := foreign_origin(scope, headers, settings)) is not None:
            message = f"pages of {origin[:200]} may not connect; allow them with server.allowed_origins"
            return await self._refuse(403, "origin", message)(scope, receive, send)
        await self._app(scope, receive, send)

    def _refuse(self, status: int, code: str, message: str) -> Response:
        self._service.metrics.count("antiphon_requests_refused_total", reason=code)
        return error_response(status, code, message)


def host_of(header: str) -> str | None:
    """The name in a `Host` header, in lower case and without the port; None: it is none."""
    match = _HOST.fullmatch(header)
    return match[1].lower() if match else None


def _is_ours(header: str, settings: ServerConfig, host: str) -> bool:
    """Whether the server, which listens at `host`, may be called so.

    An address that others reach has names that it cannot know, and keys: without `allowed_hosts` any name will do.
    """
    name = host_of(header)
    if name is None:
        return False
    allowed = {one.lower() for one in settings.allowed_hosts}
    if "*" in allowed or (not allowed and not is_loopback(host)):
        return True
    return name in LOCAL_NAMES or name in (host, f"[{host}]") or _listed(name, allowed)


def _listed(name: str, allowed: Collection[str]) -> bool:
    return name in allowed or any(one.startswith("*.") and name.endswith(one[1:]) for one in allowed)


def foreign_origin(scope: Scope, headers: Headers, settings: ServerConfig) -> str | None:
    """The page of another site that is behind a request, if it may not be; None: there is none.

    Programs send no such headers. The server's own pages have the origin by which the server was called.
    """
    origins = headers.getlist("origin")
    if not origins:
        site, mode = headers.get("sec-fetch-site"), headers.get("sec-fetch-mode")
        elsewhere = site in ("cross-site", "same-site") and mode != "navigate"  # a link to the console is no harm
        return "another site" if elsewhere and "*" not in settings.allowed_origins else None
    if len(origins) > 1:
        return "several origins"
    origin = origins[0]
    if origin in AllowedOrigins(lambda: settings):
        return None
    secure = scope["scheme"] in ("https", "wss")
    schemes = ("https",) if secure else ("http", "https")
    own = origin.lower() in {f"{scheme}://{headers['host'].lower()}" for scheme in schemes}
    return None if own else origin


class AllowedOrigins(Collection[str]):
    """`server.allowed_origins`, as it is now."""

    def __init__(self, settings: Callable[[], ServerConfig]) -> None:
        self._settings = settings

    @property
    def _origins(self) -> tuple[str, ...]:
        return self._settings().allowed_origins

    def __contains__(self, origin: object) -> bool:
        """`*` itself is none: every origin is then answered by its own name."""
        return origin != "*" and ("*" in self._origins or origin in self._origins)

    def __iter__(self) -> Iterator[str]:
        return iter(self._origins)

    def __len__(self) -> int:
        return len(self._origins)


class Cors(CORSMiddleware):
    """The answers to browsers that ask whether a page of an allowed origin may call, and read."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        super().__init__(
            app,
            allow_origins=AllowedOrigins(lambda: service.settings),
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=("*",),  # the origins are a list; what they send besides, such as x-stainless-*, is no danger
            allow_private_network=True,
            expose_headers=EXPOSED,
        )
