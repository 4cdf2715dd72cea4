"""Tiny models and the places they come from: wheels in a folder, a stand-in of a model hub's HTTP interface."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
import zipfile
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from antiphon.engines.models.catalog import Catalog, ModelEntry

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def blob(name: str, size: int) -> bytes:
    """Bytes that look like nothing else, the same at each call."""
    return hashlib.shake_256(name.encode()).digest(size)


def specs(files: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    return {name: {"size": len(data), "sha256": sha256(data)} for name, data in files.items()}


def entry(files: Mapping[str, bytes], *sources: Mapping[str, Any], **facts: Any) -> ModelEntry:
    return ModelEntry.model_validate({"files": specs(files), "sources": list(sources), **facts})


def catalog(**entries: ModelEntry) -> Catalog:
    return Catalog({name.replace("_", "-"): value for name, value in entries.items()})


def make_wheel(folder: Path, name: str, version: str, members: Mapping[str, bytes]) -> Path:
    """A wheel that pip accepts, with these members."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    files = {
        **members,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')},{len(data)}\n"
        for path, data in files.items()
    )
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return wheel


@dataclass
class Seen:
    """One request that the hub got."""

    path: str
    headers: dict[str, str]


@dataclass
class Hub:
    """What the stand-in serves and how it misbehaves."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    """By URL path."""
    listings: dict[str, list[Any]] = field(default_factory=dict)
    """By URL path: JSON pages."""
    faults: dict[str, deque[tuple[str, Any]]] = field(default_factory=lambda: defaultdict(deque))
    """By URL path: one for each coming request."""
    redirects: dict[str, str] = field(default_factory=dict)
    token: str = ""
    """If set, only requests under /private/ with this token are answered."""
    slow_s: float = 0.0
    """Pause between pieces of 16 KiB."""
    seen: list[Seen] = field(default_factory=list)

    def add_repo(self, repo: str, files: Mapping[str, bytes], revision: str = COMMIT, page: int = 1000) -> None:
        """Files over 1 KB are "LFS" files, as on a hub."""
        items: list[Any] = [{"type": "directory", "path": "sub", "oid": "0" * 40, "size": 0}]
        for name, data in files.items():
            self.files[f"/{repo}/resolve/{revision}/{name}"] = data
            item: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": git_sha1(data)}
            if len(data) > 1000:
                item["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 130}
                item["oid"] = "f" * 40
            items.append(item)
        self.listings[f"/api/models/{repo}/tree/{revision}"] = [
            items[start : start + page] for start in range(0, len(items), page)
        ]

    def gets(self, ending: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.path.endswith(ending)]


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def serve_hub() -> Iterator[Hub]:
    hub = Hub()

    class Handler(_HubHandler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _HubHandler(BaseHTTPRequestHandler):
    served: Hub
    protocol_version = "HTTP/1.0"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        hub = self.served
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        hub.seen.append(Seen(path, {key.lower(): value for key, value in self.headers.items()}))
        fault, value = hub.faults[path].popleft() if hub.faults[path] else ("", None)
        if fault == "status":
            self._answer(value, b"no", {"Retry-After": "0"} if value == 429 else {})
        elif path in hub.redirects:
            self._answer(302, b"", {"Location": hub.redirects[path]})
        elif path.startswith("/private/") and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._answer(401, b"who are you")
        elif path in hub.listings:
            page = int(parse_qs(parts.query).get("page", ["0"])[0])
            more = {"Link": f'<{hub.url}{path}?page={page + 1}>; rel="next"'}
            last = page + 1 >= len(hub.listings[path])
            self._answer(200, json.dumps(hub.listings[path][page]).encode(), {} if last else more)
        elif path in hub.files:
            self._file(hub.files[path], fault, value)
        else:
            self._answer(404, b"nothing here")

    def _file(self, data: bytes, fault: str, value: Any) -> None:
        wanted = self.headers.get("Range", "")
        if fault == "other":
            data = value
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and fault != "no range" else 0
        if start >= len(data) > 0:
            self._answer(416, b"")
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if fault != "no length":
            self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        body = data[start : start + value] if fault == "truncate" else data[start:]
        for at in range(0, len(body), 16384):
            try:
                self.wfile.write(body[at : at + 16384])
                self.wfile.flush()
            except OSError:  # the client went away; it is killed on purpose in a test
                return
            if self.served.slow_s:
                time.sleep(self.served.slow_s)

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
