"""Everything that `make interop` runs against the server: Node packages, programs, an environment for each Python SDK.

    python interop/install.py

Versions are pinned in `package-lock.json` and in `python/*.txt`. What is there already stays. What is missing and
cannot be installed here ends the run with status 2 and says what to do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parent / "out" / "interop"
PROGRAMS = {
    "chromium": ("chromium", ("chromium", "chromium-browser")),
    "firefox": ("firefox-esr", ("firefox-esr", "firefox")),
    "pulseaudio": ("pulseaudio", ("pulseaudio",)),
    "paplay": ("pulseaudio-utils", ("paplay",)),
    "turnserver": ("coturn", ("turnserver",)),
}
"""Debian's package of each, and what it is called on the path."""
NODE_MAJOR = 20
_NOT_OURS = ("PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS")


class Missing(Exception):
    """Raised when a part is missing; the message says what to do."""


def python_of(name: str) -> Path:
    """The interpreter of an SDK's environment."""
    return ENVIRONMENTS / name / "bin" / "python"


def environments() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in (HERE / "python").glob("*.txt")))


def program(kind: str) -> str:
    """The path of one of :data:`PROGRAMS`; a variable such as ANTIPHON_FIREFOX may say where it is.

    :raises Missing: there is none.
    """
    variable, (package, names) = f"ANTIPHON_{kind.upper()}", PROGRAMS[kind]
    found = os.environ.get(variable) or next((path for path in map(shutil.which, names) if path), None)
    if not found or not Path(found).exists():
        raise Missing(f"{kind} is missing: apt-get install {package}, or say where it is with {variable}")
    return found


def node() -> str:
    """:raises Missing: there is none, or too old a one."""
    found = shutil.which("node")
    if found is None or shutil.which("npm") is None:
        raise Missing("Node and npm are missing: apt-get install nodejs npm")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < NODE_MAJOR:
        raise Missing(f"Node {version} is too old: {NODE_MAJOR} or newer is needed")
    return found


def ready(name: str) -> bool:
    """An environment holds exactly what is asked for now."""
    mark = ENVIRONMENTS / name / "requirements.txt"
    asked = (HERE / "python" / f"{name}.txt").read_text("utf-8")
    return python_of(name).exists() and mark.exists() and mark.read_text("utf-8") == asked


def _install_program(kind: str) -> None:
    try:
        program(kind)
    except Missing:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise
        _run(["apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "-y", PROGRAMS[kind][0]])


def _install_packages() -> None:
    node()
    installed, asked = HERE / "node_modules" / ".package-lock.json", HERE / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < asked.stat().st_mtime:
        _run(["npm", "ci"], cwd=HERE)


def _install_environment(name: str) -> None:
    if ready(name):
        return
    folder, asked = ENVIRONMENTS / name, HERE / "python" / f"{name}.txt"
    shutil.rmtree(folder, ignore_errors=True)
    venv.EnvBuilder(with_pip=True, symlinks=True).create(folder)
    _run([str(python_of(name)), "-m", "pip", "install", "--disable-pip-version-check", "-q", "-r", str(asked)])
    (folder / "requirements.txt").write_text(asked.read_text("utf-8"), "utf-8")  # last: until then it is unfinished


def _run(command: list[str], cwd: Path | None = None) -> None:
    sys.stderr.write(f"$ {' '.join(command)}\n")
    environ = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
    status = subprocess.run(command, cwd=cwd, env=environ, check=False).returncode
    if status:
        raise Missing(f"'{' '.join(command)}' ended with status {status}")


def main() -> int:
    try:
        _install_packages()
        for kind in PROGRAMS:
            _install_program(kind)
        for name in environments():
            _install_environment(name)
    except Missing as error:
        sys.stderr.write(f"interop: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
