"""Makes .venv with what a make target needs. Standard library only; safe to repeat; once done it does nothing.

    python3 scripts/setup.py run     what running the pipeline needs (engines included)
    python3 scripts/setup.py dev     that, and what the tests and checks need

llama-cpp-python has no wheels and is compiled here, for this processor, with the flags it needs (see `cmake_args`).
The finished wheel is kept for the next environment on the same kind of machine.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
RUN = "local,mic,cloud,agents,memory,server,webrtc"
EXTRAS = {"run": RUN, "dev": f"{RUN},bench,dev"}
AMX_FLAGS = ("-mno-amx-tile", "-mno-amx-int8", "-mno-amx-bf16")


def main() -> int:
    group = sys.argv[1] if len(sys.argv) == 2 else ""
    if group not in EXTRAS:
        say(f"usage: setup.py {' | '.join(EXTRAS)}")
        return 2
    if sys.version_info < (3, 11):
        say(f"Python 3.11 or later is needed; this is {platform.python_version()} (make PYTHON=python3.12 ...)")
        return 1
    if is_done(group):
        return 0
    began = time.monotonic()
    if not PYTHON.exists():
        say("making .venv")
        venv.create(VENV, with_pip=True)
    try:
        wheel = llama_wheel()
        say(f"installing antiphon[{EXTRAS[group]}]")
        with Clock("installing"):
            pip("install", "--quiet", str(wheel))
            pip("install", "--quiet", "--editable", f"{ROOT}[{EXTRAS[group]}]")
    except subprocess.CalledProcessError as error:
        say(f"setup failed: {' '.join(map(str, error.cmd[2:6]))} ... ended with code {error.returncode}; see above")
        say("if no package could be reached: check pip's index settings (pip config list) and try again")
        return 1
    stamp(group).write_text(fingerprint(group))
    say(f"environment ready in {time.monotonic() - began:.0f} s: .venv/bin/antiphon")
    return 0


def say(text: str) -> None:
    sys.stdout.write(f"setup: {text}\n")
    sys.stdout.flush()


def stamp(group: str) -> Path:
    return VENV / f".antiphon-{group}"


def fingerprint(group: str) -> str:
    pyproject = (ROOT / "pyproject.toml").read_bytes()
    return hashlib.sha256(pyproject + EXTRAS[group].encode() + str(ROOT).encode()).hexdigest()


def is_done(group: str) -> bool:
    """The bigger group's environment serves the smaller one too."""
    wanted = ["dev"] if group == "dev" else ["run", "dev"]
    script = VENV / "bin" / "antiphon"
    return script.exists() and any(stamp(one).exists() and stamp(one).read_text() == fingerprint(one) for one in wanted)


def pip(*arguments: str, environment: dict[str, str] | None = None) -> None:
    subprocess.run(
        [PYTHON, "-m", "pip", "--disable-pip-version-check", *arguments],
        check=True,
        env={**os.environ, **(environment or {})},
    )


# ------------------------------------------------------------------------------------ llama-cpp-python


def cmake_args(given: str = "") -> str:
    """The build's flags: those of the user's CMAKE_ARGS, and ours behind them.

    GCC 12 drops stores that fill the AMX tile configuration, so a native build crashes on processors with AMX at the
    first decode. The flags that turn AMX off exist on x86 only, and in compilers that know AMX.
    """
    arguments = [given] if given else []
    if "LLAVA_BUILD" not in given:
        arguments.append("-DLLAVA_BUILD=OFF")
    if platform.machine().lower() in ("x86_64", "amd64") and compiler_takes(AMX_FLAGS):
        flags = " ".join(AMX_FLAGS)
        if "CMAKE_C_FLAGS" in given or "CMAKE_CXX_FLAGS" in given:
            say(f"your CMAKE_ARGS sets the compiler's flags, so these are not added: {flags}")
            say("without them what GCC 12 compiles crashes on processors with AMX")
            return " ".join(arguments)
        arguments += [f"-DCMAKE_C_FLAGS='{flags}'", f"-DCMAKE_CXX_FLAGS='{flags}'"]
    return " ".join(arguments)


def compiler_takes(flags: tuple[str, ...]) -> bool:
    compiler = os.environ.get("CC", "cc").split()
    try:
        done = subprocess.run(
            [*compiler, *flags, "-x", "c", "-E", "-"], input=b"", capture_output=True, timeout=60, check=False
        )
    except FileNotFoundError:
        say("no C compiler was found (cc): llama-cpp-python is compiled here; on Debian: apt install build-essential")
        raise SystemExit(1) from None
    return done.returncode == 0


def cpu_features() -> str:
    """What a native build depends on."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.MULTILINE)
    return " ".join(sorted(found.group(1).split())) if found else platform.processor()


def llama_requirement() -> str:
    found = re.search(r'"(llama-cpp-python==[^"]+)"', (ROOT / "pyproject.toml").read_text())
    assert found is not None, "pyproject.toml names no llama-cpp-python"
    return found.group(1)


def llama_wheel() -> Path:
    """The compiled wheel, from the cache if this processor and these flags have been built for before."""
    requirement = llama_requirement()
    arguments = cmake_args(os.environ.get("CMAKE_ARGS", "").strip())
    key = "|".join((requirement, arguments, cpu_features(), platform.machine(), platform.python_version()))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "antiphon" / "wheels"
    folder = cache / hashlib.sha256(key.encode()).hexdigest()[:16]
    if ready := sorted(folder.glob("llama_cpp_python-*.whl")):
        say("llama-cpp-python: taking the wheel that was compiled here before")
        return ready[0]
    say(f"compiling {requirement}: about 4 minutes on two cores, once (most of the whole set-up)")
    say(f"CMAKE_ARGS={arguments}")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as temporary, Clock("compiling"):
        # Without pip's own cache: it would hand out a wheel that was once built with other flags.
        pip("wheel", "--quiet", "--no-deps", "--no-cache-dir", "--wheel-dir", temporary, requirement,
            environment={"CMAKE_ARGS": arguments, "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1)})  # fmt: skip
        folder.mkdir(exist_ok=True)
        built = next(Path(temporary).glob("*.whl"))
        return built.replace(folder / built.name)


class Clock:
    """Says every half minute that something long is still going on."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._over = threading.Event()

    def __enter__(self) -> None:
        threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self) -> None:
        began = time.monotonic()
        while not self._over.wait(30):
            say(f"{self._what}: {time.monotonic() - began:.0f} s so far")

    def __exit__(self, *_: object) -> None:
        self._over.set()


if __name__ == "__main__":
    sys.exit(main())
