"""Where model files come from: one function for each kind of source, all with the same duty.

A fetcher puts complete files into a folder of its own under the store. It does not judge them: whoever calls it checks
size and SHA-256 before anything becomes visible.
"""

from __future__ import annotations

import logging
import os
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

from antiphon.engines.errors import OfflineForbidden
from antiphon.engines.models.catalog import FileSpec, HubSource, PackageSource, PathSource, Source, UrlSource, redact
from antiphon.engines.models.files import TooLong, disk_full, pour
from antiphon.engines.models.http import SourceFailed, Target, download
from antiphon.engines.models.wheels import fetch_members
from antiphon.engines.net import is_loopback, network_forbidden

log = logging.getLogger(__name__)

HUB_ENDPOINT = "https://huggingface.co"

Activity = Literal["waiting", "downloading", "verifying", "installed"]


@dataclass(frozen=True, slots=True)
class Progress:
    """What a pull is doing now."""

    model: str
    activity: Activity
    source: str = ""
    """The source's label."""
    file: str = ""
    """The file or package under way."""
    done_bytes: int = 0
    total_bytes: int | None = None
    """Of `file`; None where it is not known beforehand."""


Wrote = Callable[[str, int], None]
"""Called with what is under way (a file, a package) and how many bytes of it there are."""


def fetch(source: Source, files: Mapping[str, FileSpec], folder: Path, wrote: Wrote) -> None:
    """Put `files` into `folder` from `source`. What an interrupted call left in `folder` is used again.

    :raises SourceFailed: with one reason for the user.
    :raises OSError: the disk is full.
    """
    try:
        if isinstance(source, PackageSource):
            fetch_members(source.files, files, folder, wrote)
        elif isinstance(source, HubSource):
            _fetch_hub(source, files, folder, wrote)
        elif isinstance(source, PathSource):
            _fetch_path(source, files, folder, wrote)
        else:
            _fetch_urls(source, files, folder, wrote)
    except OfflineForbidden as error:
        raise SourceFailed(error.message) from error
    except OSError as error:
        if disk_full(error):
            raise
        raise SourceFailed(f"{type(error).__name__}: {redact(error.strerror or str(error))}") from error


def hub_endpoint() -> str:
    """The hub's address: `$HF_ENDPOINT`, or the official one.

    :raises SourceFailed: the hub must not be asked, or the address is none.
    """
    if network_forbidden():
        raise SourceFailed("the network is forbidden (offline is true)")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise SourceFailed("HF_HUB_OFFLINE is set")
    endpoint = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or HUB_ENDPOINT
    if urlsplit(endpoint).scheme not in ("http", "https"):
        raise SourceFailed(f"HF_ENDPOINT is no http or https address: {redact(endpoint)}")
    return endpoint


def hub_token(endpoint: str) -> str:
    """`$HF_TOKEN`, but only for a hub that is reached by https or on this machine."""
    token = os.environ.get("HF_TOKEN", "").strip()
    if token and not endpoint.startswith("https://") and not is_loopback(endpoint):
        log.warning("HF_TOKEN is not sent over plain http", extra={"endpoint": redact(endpoint)})
        return ""
    return token


def _fetch_hub(source: HubSource, files: Mapping[str, FileSpec], folder: Path, wrote: Wrote) -> None:
    endpoint = hub_endpoint()
    for name, spec in files.items():
        fetch_hub_file(
            endpoint, source.repo, source.revision, source.files.get(name, name), spec.size, folder / name, wrote
        )


def fetch_hub_file(
    endpoint: str, repo: str, revision: str, path: str, size: int | None, target: Path, wrote: Wrote
) -> None:
    """One file of a hub repository.

    :raises SourceFailed: with the reason.
    """
    url = f"{endpoint}/{quote(repo)}/resolve/{quote(revision, safe='')}/{quote(path)}"
    target.parent.mkdir(parents=True, exist_ok=True)
    goal = Target(target, size, lambda at: wrote(path, at))
    download(url, goal, token=hub_token(endpoint))


def _fetch_path(source: PathSource, files: Mapping[str, FileSpec], folder: Path, wrote: Wrote) -> None:
    base = Path(source.path).expanduser()
    for name, spec in files.items():
        _copy(base / source.files.get(name, name), name, spec, folder / name, 0, wrote)


def _fetch_urls(source: UrlSource, files: Mapping[str, FileSpec], folder: Path, wrote: Wrote) -> None:
    for name, spec in files.items():
        urls = source.files[name]
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if len(urls) == 1:
            _fetch_url(urls[0], name, spec, spec.size, target, wrote)
            continue
        pieces = [target.with_name(f"{target.name}.part{index}") for index in range(len(urls))]
        for url, piece in zip(urls, pieces, strict=True):
            _fetch_url(url, name, spec, None, piece, wrote)
        length = 0
        for piece in pieces:
            length += _copy(piece, name, spec, target, length, wrote)
        for piece in pieces:
            piece.unlink()


def _fetch_url(url: str, name: str, spec: FileSpec, size: int | None, target: Path, wrote: Wrote) -> None:
    parts = urlsplit(url)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise SourceFailed(f"{redact(url)}: a file URL of another machine")
        _copy(Path(urllib.request.url2pathname(parts.path)), name, spec, target, 0, wrote)
        return
    if network_forbidden() and not is_loopback(url):
        raise SourceFailed(f"{redact(url)}: the network is forbidden (offline is true)")
    download(url, Target(target, size, lambda at: wrote(name, at)))


def _copy(source: Path, name: str, spec: FileSpec, target: Path, at: int, wrote: Wrote) -> int:
    """Append `source` to `target` at byte `at`. Returns bytes copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with source.open("rb") as file:
            return pour(file, target, at=at, limit=spec.size, wrote=lambda length: wrote(name, length))
    except TooLong as error:
        raise SourceFailed(f"{source}: longer than the {spec.size} bytes that it must have") from error
    except OSError as error:
        if disk_full(error):
            raise
        raise SourceFailed(f"{source}: {error.strerror or error}") from error
