"""A hub repository that no catalog knows, as a model entry: its files with the hashes that the hub lists.

Large files have their SHA-256 in the hub's listing. Small ones have git's object id only; they are fetched at once,
checked against it, and their SHA-256 is taken then.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from pydantic import TypeAdapter, ValidationError

from antiphon.engines.models.catalog import FileName, FileSpec, HubSource, ModelEntry
from antiphon.engines.models.http import SourceFailed, get
from antiphon.engines.models.records import FileMark
from antiphon.engines.models.sources import Wrote, fetch_hub_file, hub_endpoint, hub_token

_MOST_PAGES = 100
_NAME: TypeAdapter[str] = TypeAdapter(FileName)


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file as the hub lists it."""

    path: str
    size: int
    sha256: str = ""
    """Empty for files that the hub keeps in git itself."""
    git_sha1: str = ""


def describe(repo: str, revision: str, include: Sequence[str], folder: Path, wrote: Wrote) -> ModelEntry:
    """The entry of a repository at a revision; its small files lie in `folder` afterwards.

    :param include: patterns (`*.gguf`); empty takes every file.
    :raises SourceFailed: with one reason for the user.
    """
    endpoint = hub_endpoint()
    chosen = _choose(_listing(endpoint, repo, revision), include)
    specs: dict[str, FileSpec] = {}
    for file in chosen:
        sha256 = file.sha256
        if not sha256:
            target = folder / file.path
            fetch_hub_file(endpoint, repo, revision, file.path, file.size, target, wrote)
            if file.git_sha1 != (found := _git_sha1(target)):
                target.unlink()
                raise SourceFailed(f"'{file.path}': expected git object {file.git_sha1}, found {found}")
            sha256 = FileMark.take(target).sha256
        specs[file.path] = FileSpec(size=file.size, sha256=sha256)
    return ModelEntry(
        description=f"{repo} at {revision}",
        origin=repo,
        metadata={"repo": repo, "revision": revision},
        files=specs,
        sources=(HubSource(kind="hub", repo=repo, revision=revision),),
    )


def _listing(endpoint: str, repo: str, revision: str) -> list[HubFile]:
    url = f"{endpoint}/api/models/{quote(repo)}/tree/{quote(revision, safe='')}?recursive=true"
    files: list[HubFile] = []
    for _ in range(_MOST_PAGES):
        body, headers = get(url, token=hub_token(endpoint))
        files += _parse(body)
        following = re.search(r'<([^>]+)>;\s*rel="next"', headers.get("Link", ""))
        if following is None:
            return files
        url = urljoin(url, following[1])
        if urlsplit(url)[:2] != urlsplit(endpoint)[:2]:
            raise SourceFailed("the hub's listing goes on at another host, which is refused")
    raise SourceFailed("the hub's listing does not end")


def _parse(body: bytes) -> list[HubFile]:
    try:
        items: list[dict[str, Any]] = json.loads(body)
        if not isinstance(items, list):
            raise TypeError("not a list")
        return [_file(item) for item in items if item["type"] == "file" and not _hidden(item["path"])]
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise SourceFailed(f"the hub's listing is not understood: {type(error).__name__}") from error


def _file(item: dict[str, Any]) -> HubFile:
    path = _NAME.validate_python(item["path"])
    lfs = item.get("lfs")
    if lfs:
        return HubFile(path, int(lfs["size"]), sha256=str(lfs["oid"]))
    return HubFile(path, int(item["size"]), git_sha1=str(item["oid"]))


def _hidden(path: str) -> bool:
    return any(part.startswith(".") and part != ".." for part in path.split("/"))


def _choose(files: list[HubFile], include: Sequence[str]) -> list[HubFile]:
    if include:
        chosen = [file for file in files if any(fnmatchcase(file.path, pattern) for pattern in include)]
        if not chosen:
            raise SourceFailed(f"no file fits {', '.join(include)}; it has {_some(files)}")
        return chosen
    if not files:
        raise SourceFailed("the repository has no files")
    variants = [file for file in files if file.path.endswith(".gguf")]
    if len(variants) > 1:
        raise SourceFailed(f"it has {len(variants)} GGUF files; choose with --include: {_some(variants)}")
    return files


def _some(files: Sequence[HubFile], most: int = 12) -> str:
    names = ", ".join(file.path for file in files[:most])
    return names + (", ..." if len(files) > most else "") if files else "none"


def _git_sha1(path: Path) -> str:
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
