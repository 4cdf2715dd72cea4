"""Turns what goes wrong between the `openai` client and a server into this project's errors.

No secret gets into a message: servers like to quote the key they refuse, so what they say is blotted before it is
quoted. The client's own errors are not chained either, for their text holds the server's whole answer.
"""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from antiphon.engines.errors import (
    EngineError,
    EngineFailed,
    EngineOverloaded,
    EngineRequestInvalid,
    EngineTimeout,
)

_QUOTE_CHARS = 300
_MISCONFIGURED = (401, 403, 404)
"""The key, or the address or the model."""


class Explainer:
    """Explains the errors of one connection.

    :param url: the base URL, fit to be shown.
    :param secrets: strings that must never be shown.
    """

    def __init__(self, stage: str, url: str, secrets: Sequence[str]) -> None:
        self._stage = stage
        self._url = url
        self._secrets = sorted({secret for secret in secrets if len(secret) >= 3}, key=len, reverse=True)

    def __call__(self, error: Exception, model: str = "", *, after: str = "", begun: bool = False) -> EngineError:
        """:param after: said at the end of the message: what had been delivered before.
        :param begun: the answer had begun to arrive."""
        if isinstance(error, EngineError):
            return error
        status = _status(error)
        if status is not None:
            return self._for_status(status, error, model, after)
        name = type(error).__name__
        cause = error.__cause__ or error
        if "Timeout" in name:
            return EngineTimeout(f"no connection to {self._url} in time{after}", stage=self._stage, engine="openai",
                                 hint=f"see {self._stage}.connect_timeout_s")  # fmt: skip
        if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)):
            return self._failed(f"{self._url} sent something that is no valid answer ({name}){after}")
        if is_transport(error):
            if not begun and "Connect" in type(cause).__name__:
                return self._failed(
                    f"no connection to {self._url}: {self.quote(str(cause))}",
                    hint=f"is the server running, and is {self._stage}.base_url right?",
                )
            return self._failed(f"the connection to {self._url} broke{after} ({type(cause).__name__})")
        if _is_sdk_error(error):  # an error event inside a stream
            return self._failed(f"{self._url} reported an error{after}: {self.quote(_server_text(error))}")
        return self._failed(f"{self._url} sent something that is no valid answer ({name}){after}")

    def may_pass(self, error: Exception) -> bool:
        """Whether the same request may succeed a moment later."""
        status = _status(error)
        if status is not None:
            return (status in (408, 409, 429) or status >= 500) and _code(error) != "insufficient_quota"
        return is_transport(error)

    def refuses(self, error: Exception) -> bool:
        """Whether a server that works, and takes the key, refuses just this request."""
        status = _status(error)
        return status is not None and 400 <= status < 500 and status not in (401, 408, 409, 429)

    def cause(self, error: Exception) -> Exception | None:
        """What to chain to the explained error: not the client's own errors, whose text quotes the server's answer."""
        return None if _is_sdk_error(error) or is_transport(error) else error

    def quote(self, text: str) -> str:
        """A server's words on one line, short, without secrets."""
        text = " ".join(text.split())
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text if len(text) <= _QUOTE_CHARS else text[:_QUOTE_CHARS] + "..."

    def _failed(self, message: str, hint: str = "", retryable: bool | None = None) -> EngineFailed:
        return EngineFailed(message, stage=self._stage, engine="openai", hint=hint, retryable=retryable)

    def _for_status(self, status: int, error: Exception, model: str, after: str) -> EngineError:
        said = self.quote(_server_text(error))
        message = f"{self._url} answered {status}{after}" + (f": {said}" if said else "")
        retry_after_s = retry_after(_headers(error))
        if status == 429 or (status == 503 and retry_after_s is not None):
            hint = "the account's quota is used up" if _code(error) == "insufficient_quota" else ""
            return EngineOverloaded(message, stage=self._stage, engine="openai", hint=hint, retry_after_s=retry_after_s)
        if status == 408:
            return EngineTimeout(message, stage=self._stage, engine="openai")
        if status >= 500 or status == 409:
            return self._failed(message)
        hint = self._hint(status, model, error)
        if status in _MISCONFIGURED or 300 <= status < 400:  # no request would be answered, whatever is in it
            return self._failed(message, hint=hint, retryable=False)
        return EngineRequestInvalid(message, stage=self._stage, engine="openai", hint=hint)

    def _hint(self, status: int, model: str, error: Exception) -> str:
        stage = self._stage
        if status in (401, 403):
            return f"check {stage}.api_key, or the environment variable OPENAI_API_KEY where that option is not set"
        if status == 404:
            return f"does the server have the model '{model}' ({stage}.model), and does {stage}.base_url end in /v1?"
        if status == 413:
            return "the request is too large for this server: send less audio or text at once"
        if 300 <= status < 400:
            target = self.quote(_headers(error).get("location", "").partition("?")[0])
            return f"redirects are not followed; set {stage}.base_url to where the API is (it points to {target})"
        return ""


def is_transport(error: BaseException) -> bool:
    """Whether the connection is at fault, and not what was said over it."""
    return type(error).__name__ in ("APIConnectionError", "APITimeoutError") or _package(error) in (
        "httpx", "httpx2", "httpcore", "httpcore2",
    )  # fmt: skip


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait: `retry-after-ms`, or `Retry-After` as seconds or as a date (RFC 9110)."""
    for name, unit_s in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit_s
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        when = email.utils.parsedate_to_datetime(headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return max(0.0, when.timestamp() - time.time())


def names_field(error: Exception, *fields: str) -> bool:
    """Whether a server refuses the request because of one of these fields, which it does not know."""
    if _status(error) not in (400, 422):
        return False
    text = _server_text(error) + " " + str(getattr(error, "param", "") or "")
    return any(field in text for field in fields)


def _package(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]


def _is_sdk_error(error: Exception) -> bool:
    return _package(error) == "openai"


def _status(error: Exception) -> int | None:
    status = getattr(error, "status_code", None)
    if status is None and _is_sdk_error(error):
        # An error event inside a stream: some servers put the status into its code.
        code = str(getattr(error, "code", None) or "")
        status = int(code) if code.isdecimal() and 400 <= int(code) < 600 else None
        if status is None and "rate_limit" in f"{code} {getattr(error, 'type', '')}":
            status = 429
    return status if isinstance(status, int) else None


def _headers(error: Exception) -> Mapping[str, str]:
    headers: Mapping[str, str] = getattr(getattr(error, "response", None), "headers", {})
    return headers


def _code(error: Exception) -> str:
    return str(getattr(error, "code", "") or "")


def _server_text(error: Exception) -> str:
    """The server's own sentence, wherever it keeps it."""
    body: Any = getattr(error, "body", None)
    if isinstance(body, Mapping):
        for key in ("message", "error", "detail"):
            if body.get(key):
                return body[key] if isinstance(body[key], str) else json.dumps(body[key], default=str)
        return json.dumps(body, default=str)
    if isinstance(body, str):
        return body
    return str(getattr(error, "message", ""))
