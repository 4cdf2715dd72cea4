"""The page's files, as they are on the disk: no build step, nothing from elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

FOLDER = Path(__file__).parent / "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""The page loads its own files, talks to its own server, and makes no markup of strings."""
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=(), display-capture=(), payment=(), usb=()",
}
"""Of everything below `/console/`."""


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    media_type: str
    etag: str


class Files:
    """All files of the page, read once: what is not among them is not there, whatever its name."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = {
            path.relative_to(folder).as_posix(): _read(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix in TYPES
        }

    @property
    def edition(self) -> str:
        """Another one as soon as any file is: a page that was loaded before knows that it is an old one."""
        return hashlib.sha256("".join(file.etag for file in self._files.values()).encode()).hexdigest()[:16]

    @property
    def names(self) -> list[str]:
        return list(self._files)

    def response(self, name: str, request: Request) -> Response | None:
        """A file, or 304 where the browser has it; None: there is none of that name.

        Browsers keep the files and ask each time whether they still hold: names stay the same when contents change.
        """
        file = self._files.get(name or "index.html")
        if file is None:
            return None
        headers = {**HEADERS, "ETag": file.etag, "Cache-Control": "no-cache"}
        if _matches(request.headers.get("if-none-match", ""), file.etag):
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)


def _read(path: Path) -> _File:
    content = path.read_bytes()
    return _File(content, TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def _matches(asked: str, etag: str) -> bool:
    known = [one.strip().removeprefix("W/") for one in asked.split(",")]
    return etag in known or known == ["*"]
