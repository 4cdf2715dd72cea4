"""The peers' environments: one virtual environment each, made with the Python that runs this, filled by pip."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from antiphon.benchmarks.peers.catalog import PeerSpec
from antiphon.benchmarks.peers.errors import PeerFailed, PeerMissing

log = logging.getLogger(__name__)

MARK = "antiphon-peer.json"
"""Written last into an environment: what it was filled with. Without it an environment is unfinished."""
PIP_LINES = 20


@dataclass(frozen=True, slots=True)
class Installed:
    """A peer's environment."""

    folder: Path
    versions: dict[str, str]
    """By distribution, of what was asked for by name."""
    current: bool
    """It holds what is asked for now."""


def installed(spec: PeerSpec, folder: Path) -> Installed | None:
    """What is installed for a peer; None: nothing, or an unfinished environment."""
    place = folder / spec.key
    try:
        mark = json.loads((place / MARK).read_text(encoding="utf-8"))
        requirements, versions = list(mark["requirements"]), dict(mark["versions"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not python_of(place).exists():
        return None
    return Installed(place, versions, requirements == list(spec.requirements))


def peer_python(spec: PeerSpec, folder: Path) -> Path:
    """The interpreter that runs a peer's driver.

    :raises PeerMissing: the peer is not installed, or in another version.
    """
    found = installed(spec, folder)
    if found is None or not found.current:
        state = "is not installed" if found is None else "is installed in another version"
        raise PeerMissing(
            f"the peer {spec.name} {state}", peer=spec.name, hint=f"antiphon bench peers install {spec.key}"
        )
    return python_of(found.folder)


def install(spec: PeerSpec, folder: Path, say: Callable[[str], None], *, pip: tuple[str, ...] = ()) -> Installed:
    """Make a peer's environment, unless it is there. pip runs with the user's own settings.

    :param say: told each line of pip's.
    :param pip: more arguments for `pip install`.
    :raises PeerFailed: pip failed; the hint has its last lines.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{spec.key}.lock"):
        found = installed(spec, folder)
        if found is not None and found.current:
            return found
        place = folder / spec.key
        if place.exists():
            shutil.rmtree(place)
        say(f"making {place}")
        venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt").create(place)
        _pip_install(spec, python_of(place), say, pip)
        versions = _versions(spec, python_of(place))
        mark = {"requirements": list(spec.requirements), "versions": versions}
        unfinished = place / f"{MARK}.new"
        unfinished.write_text(json.dumps(mark, indent=1), encoding="utf-8")
        unfinished.replace(place / MARK)
        return Installed(place, versions, True)


def python_of(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _pip_install(spec: PeerSpec, python: Path, say: Callable[[str], None], more: tuple[str, ...]) -> None:
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", *more, *spec.requirements]
    environ = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS")}
    last: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environ
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                last = [*last, line.rstrip()][-PIP_LINES:]
                say(line.rstrip())
            status = process.wait()
        except BaseException:
            process.kill()
            raise
    if status:
        raise PeerFailed(
            f"{spec.name} could not be installed: pip ended with status {status}",
            peer=spec.name,
            hint="\n".join(last),
        )


def _versions(spec: PeerSpec, python: Path) -> dict[str, str]:
    names = [requirement.partition("=")[0].partition(">")[0].partition("[")[0] for requirement in spec.requirements]
    code = f"import json, importlib.metadata as m; print(json.dumps({{n: m.version(n) for n in {names!r}}}))"
    done = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PeerFailed(f"{spec.name} is not whole after its installation", peer=spec.name, hint=done.stderr.strip())
    versions: dict[str, str] = json.loads(done.stdout)
    return versions
