"""Fetching one file over HTTP: resumable, patient with a struggling server, careful with the token.

The standard library's client does this job: proxies and certificates come from the environment as everywhere, and the
base installation needs no HTTP package.
"""

from __future__ import annotations

import base64
import functools
import http.client
import importlib.metadata
import logging
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from antiphon.engines.models.catalog import redact
from antiphon.engines.models.files import TooLong, disk_full, pour

log = logging.getLogger(__name__)

TIMEOUT_S = 30.0
"""For connecting, and between two pieces of an answer."""
ATTEMPTS = 4
"""How often to try without one new byte. Each new byte starts the count again."""
MOST_ATTEMPTS = 40
PAUSE_S = 0.5
"""Before the second attempt; doubles with each further one."""
LONGEST_PAUSE_S = 20.0


class SourceFailed(Exception):
    """Raised when a source cannot give a file; the text is one reason for the user, without secrets."""


class _Passing(Exception):
    """A failure that may pass: try again, after `wait_s` if the server named a time."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Target:
    """Where a download goes, and what it may be."""

    path: Path
    size: int | None
    """The file's length in bytes, if known."""
    wrote: Callable[[int], None]
    """Called with the length so far."""


def download(url: str, target: Target, *, token: str = "", sleep: Callable[[float], None] = time.sleep) -> None:
    """Fetch `url` into `target.path`; bytes that are there already are taken as the file's beginning.

    :param token: sent as a bearer token to this URL's origin only, never to where it redirects.
    :raises SourceFailed: with the reason.
    :raises OSError: the disk is full.
    :raises OfflineForbidden: the network is forbidden.
    """
    idle, where = 0, redact(url)
    for _ in range(MOST_ATTEMPTS):
        before = _length(target.path)
        if target.size is not None and before == target.size:
            target.wrote(before)
            return
        try:
            _attempt(url, target, token)
            return
        except _Passing as failure:
            idle = 0 if _length(target.path) > before else idle + 1
            log.info("download interrupted", extra={"url": where, "reason": str(failure), "bytes": before})
            if idle >= ATTEMPTS:
                raise SourceFailed(f"{where}: {failure} ({ATTEMPTS} attempts)") from failure
            wait_s = failure.wait_s if failure.wait_s is not None else PAUSE_S * 2 ** max(0, idle - 1)
            sleep(min(wait_s, LONGEST_PAUSE_S))
        except TooLong as failure:
            target.path.unlink(missing_ok=True)
            raise SourceFailed(f"{where}: longer than the {target.size} bytes that it must have") from failure
    raise SourceFailed(f"{where}: the connection broke {MOST_ATTEMPTS} times")


def get(url: str, *, token: str = "", limit: int = 32 << 20) -> tuple[bytes, Message]:
    """A small answer and its headers.

    :raises SourceFailed: with the reason.
    :raises OfflineForbidden: the network is forbidden.
    """
    try:
        with _open(url, {"Accept": "application/json"}, token) as answer:
            body: bytes = answer.read(limit + 1)
            headers: Message = answer.headers
    except _Passing as failure:
        raise SourceFailed(f"{redact(url)}: {failure}") from failure
    except (OSError, http.client.HTTPException) as failure:
        raise SourceFailed(f"{redact(url)}: {_plain(failure)}") from failure
    if len(body) > limit:
        raise SourceFailed(f"{redact(url)}: the answer is longer than {limit} bytes")
    return body, headers


def _attempt(url: str, target: Target, token: str) -> None:
    have = _length(target.path)
    if target.size is not None and have > target.size:
        target.path.unlink()
        have = 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with _open(url, headers, token, partial=target.path) as answer:
        at = _start(answer) if answer.status == 206 else 0
        if at > have:
            raise _Passing("the server skipped a part")
        announced = _announced(answer, at)
        if target.size is not None and announced is not None and announced != target.size:
            raise SourceFailed(f"{redact(url)}: has {announced} bytes, expected {target.size}")
        try:
            got = at + pour(answer, target.path, at=at, limit=target.size, wrote=target.wrote)
        except (OSError, http.client.HTTPException) as failure:
            if disk_full(failure):
                raise
            raise _Passing(f"the connection broke: {_plain(failure)}") from failure
    expected = target.size if target.size is not None else announced
    if expected is not None and got < expected:
        raise _Passing(f"the answer ended after {got} of {expected} bytes")


def _open(url: str, headers: dict[str, str], token: str, partial: Path | None = None) -> Any:
    try:
        url, authorization = _authorization(url, token)
        fixed = {"User-Agent": _agent(), "Accept-Encoding": "identity"}
        request = urllib.request.Request(url, headers={**fixed, **headers})
        if authorization:
            request.add_unredirected_header("Authorization", authorization)
        return _opener().open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error, bool(authorization), partial, redact(url)) from None
    except urllib.error.URLError as error:
        raise SourceFailed(f"{redact(url)}: cannot connect: {_plain(error.reason)}") from error
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise _Passing(f"no answer: {_plain(error)}") from error
    except ValueError as error:  # not a URL after all
        raise SourceFailed(f"{redact(url)}: {_plain(error)}") from error


def _authorization(url: str, token: str) -> tuple[str, str]:
    """The URL without a user and password in it, and the header that says them instead (or the token)."""
    parts = urlsplit(url)
    userinfo, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, f"Bearer {token}" if token else ""
    basic = base64.b64encode(unquote(userinfo).encode()).decode()
    return parts._replace(netloc=host).geturl(), f"Basic {basic}"


def _refusal(error: urllib.error.HTTPError, had_token: bool, partial: Path | None, where: str) -> Exception:
    """What a status of 400 and more means."""
    if error.code == 416 and partial is not None:
        partial.unlink(missing_ok=True)  # what is here is no beginning of that file
        return _Passing("416 Range Not Satisfiable", wait_s=0.0)
    if error.code in (408, 425, 429) or error.code >= 500:
        after = error.headers.get("Retry-After", "")
        return _Passing(f"{error.code} {error.reason}", float(after) if after.isdecimal() else None)
    if error.code in (401, 403):
        what = "the credentials were refused" if had_token else "it needs credentials (HF_TOKEN), or does not exist"
        return SourceFailed(f"{where}: {error.code} {error.reason}: {what}")
    return SourceFailed(f"{where}: {error.code} {error.reason}")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects; keeps the token on the same origin only, and never goes from https to http."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if old.scheme == "https" and new.scheme != "https":
            raise SourceFailed(f"{redact(req.full_url)}: redirected from https to {new.scheme}, which is refused")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        token = req.get_header("Authorization")
        if request is not None and token and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            request.add_unredirected_header("Authorization", token)
        return request


@functools.cache
def _agent() -> str:
    try:
        return f"antiphon/{importlib.metadata.version('antiphon')}"
    except importlib.metadata.PackageNotFoundError:
        return "antiphon"


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Redirects())


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _start(answer: Any) -> int:
    match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    if match is None:
        raise _Passing("a partial answer that does not say which part")
    return int(match[1])


def _announced(answer: Any, at: int) -> int | None:
    """The whole file's length as the server gives it."""
    length = answer.headers.get("Content-Length", "")
    return at + int(length) if length.isdecimal() else None


def _plain(error: object) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return redact(str(text))
