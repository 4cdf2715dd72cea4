"""Which key opens which route: one table, asked before any routing.

A path that no row covers needs a key for `admin`: who forgets a row for a new route opens nothing by it. A test walks
the routes of the application and names those without a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from antiphon.server.access.principal import Scope


@dataclass(frozen=True, slots=True)
class Rule:
    """What a path, and everything under it, needs."""

    path: str
    """Without a slash at its end."""
    needs: Scope | Literal["any", "public", "own"]
    """A scope; any key; none; or a check of the route's own, for callers that cannot show a key."""
    ephemeral: bool = False
    """Ephemeral keys open it, too."""
    begins: Literal["", "POST", "websocket"] = ""
    """How a conversation is begun at exactly this path; it counts in `sessions_per_minute`."""


RULES: tuple[Rule, ...] = (
    Rule("/healthz", "public"),
    Rule("/readyz", "public"),
    Rule("/", "public"),  # this path alone: it leads to the console
    Rule("/console", "public"),
    Rule("/openapi.json", "any"),
    Rule("/v1/models", "any"),
    Rule("/v1/state", "any"),
    Rule("/v1/stream", "realtime", begins="websocket"),
    Rule("/v1/realtime", "realtime", ephemeral=True, begins="websocket"),
    Rule("/v1/realtime/calls", "realtime", ephemeral=True, begins="POST"),
    Rule("/v1/realtime/client_secrets", "realtime"),
    Rule("/v1/telephony", "own"),
    Rule("/v1/audio", "audio"),
    Rule("/v1/chat", "chat"),
    Rule("/v1/transcripts", "transcripts"),
    Rule("/v1/approvals", "approvals"),
    Rule("/metrics", "metrics"),
    Rule("/v1/sessions", "admin"),
    Rule("/v1/admin", "admin"),
)
ELSE = Rule("", "admin")
_BY_PATH = {rule.path: rule for rule in RULES}
_DEPTH = max(rule.path.count("/") for rule in RULES)


def rule_for(path: str) -> Rule:
    """The longest row that covers a path."""
    if path == "/":
        return _BY_PATH[path]
    parts = path.split("/", _DEPTH + 1)
    for length in range(min(len(parts), _DEPTH + 1), 1, -1):
        if (rule := _BY_PATH.get("/".join(parts[:length]))) is not None and rule.path != "/":
            return rule
    return ELSE


def route_of(scope: Mapping[str, Any]) -> str:
    """The route that a request has taken, for logs and figures: as it is declared, never as the client wrote it."""
    rule = rule_for(scope["path"])
    declared: str | None = getattr(scope.get("route"), "path", None)
    if declared is None:
        return rule.path or "unknown"
    return declared if declared.startswith(rule.path) else rule.path + declared  # of a router within a router
