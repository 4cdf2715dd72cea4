"""Where a request shows its key.

In the header `Authorization: Bearer KEY`; or, since a browser's WebSocket can send no header, as the subprotocol
`openai-insecure-api-key.KEY`. Never in the query: addresses end up in the logs of proxies, in histories, and in the
`Referer` of the next request.
"""

from __future__ import annotations

from starlette.requests import HTTPConnection

SUBPROTOCOL_PREFIX = "openai-insecure-api-key."
MAX_TOKEN_CHARS = 1024
_QUERY_NAMES = frozenset({"api_key", "api-key", "apikey", "key", "token", "access_token"})


def token_of(connection: HTTPConnection) -> str | None:
    """The key that is shown; None: none, or nothing that could be one.

    Several `Authorization` headers are none: it must not depend on the order in which a proxy and the server read them.
    """
    shown = connection.headers.getlist("authorization")
    if shown:
        scheme, _, token = shown[0].partition(" ")
        token = token.strip()
        return token if len(shown) == 1 and scheme.lower() == "bearer" and _possible(token) else None
    for one in connection.scope.get("subprotocols", ()):
        if one.startswith(SUBPROTOCOL_PREFIX):
            token = one.removeprefix(SUBPROTOCOL_PREFIX)
            return token if _possible(token) else None
    return None


def _possible(token: str) -> bool:
    return 0 < len(token) <= MAX_TOKEN_CHARS and token.isascii() and token.isprintable() and " " not in token


def shown_in_query(connection: HTTPConnection) -> bool:
    """Whether somebody wrote their key into the address."""
    return any(name.lower() in _QUERY_NAMES for name in connection.query_params)
