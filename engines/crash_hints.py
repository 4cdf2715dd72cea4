"""What is known about native crashes: from the signal and what was left on stderr to an explanation and a remedy.

Also how a package is installed on this machine so that it does not crash.
"""

from __future__ import annotations

import contextlib
import platform
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CrashHint:
    """One known cause. All that is given must fit; the first hint that fits is taken."""

    text: str
    signals: tuple[str, ...] = ()
    """Names such as "SIGSEGV"; empty: any."""
    mentions: str = ""
    """A regular expression that must be found in what ran or in what stderr had (Python's fault handler lists the
    modules that were at work)."""
    cpu_flag: str = ""
    """A flag that the processor must have (Linux)."""
    machine: tuple[str, ...] = ()
    """`platform.machine()` must be one of these; empty: any."""


@dataclass(frozen=True, slots=True)
class BuildNote:
    """A package that is compiled while it is installed, and what its build needs on some processors."""

    package: str
    """Its import name."""
    variables: str
    """What to set before `pip install`, as a shell takes it."""
    cpu_flag: str
    machine: tuple[str, ...]


_X86 = ("x86_64", "AMD64", "i686")
_NO_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
_LLAMA_WITHOUT_AMX = f"CMAKE_ARGS=\"-DCMAKE_C_FLAGS='{_NO_AMX}' -DCMAKE_CXX_FLAGS='{_NO_AMX}' -DLLAVA_BUILD=OFF\""

BUILD_NOTES: tuple[BuildNote, ...] = (BuildNote("llama_cpp", _LLAMA_WITHOUT_AMX, "amx_tile", _X86),)

HINTS: tuple[CrashHint, ...] = (
    CrashHint(
        "This processor has AMX, and GCC 12 compiles llama.cpp's AMX code wrongly: it crashes at the first decode. "
        "Build llama-cpp-python again without AMX:\n"
        f"  {_LLAMA_WITHOUT_AMX} "
        "pip install --force-reinstall --no-deps --no-binary llama-cpp-python llama-cpp-python",
        signals=("SIGSEGV", "SIGBUS", "SIGILL"),
        mentions=r"llama",
        cpu_flag="amx_tile",
        machine=_X86,
    ),
    CrashHint(
        "llama.cpp was built for another processor than this one (it uses instructions that this one does not have). "
        "Build it again on this machine, or for any machine of its kind:\n"
        '  CMAKE_ARGS="-DGGML_NATIVE=OFF" '
        "pip install --force-reinstall --no-deps --no-binary llama-cpp-python llama-cpp-python",
        signals=("SIGILL",),
        mentions=r"llama",
    ),
    CrashHint(
        "A package was built for another processor than this one (it uses instructions that this one does not have). "
        "Install another version of the package, or build it on this machine.",
        signals=("SIGILL",),
    ),
    CrashHint(
        "The process was killed from outside. Most often that is the system, out of memory: use a smaller model, or "
        "give the machine or container more memory (`dmesg` names the process if so).",
        signals=("SIGKILL",),
    ),
    CrashHint(
        "A mapped file could not be read: a model file that was cut short or replaced while in use, or a full disk. "
        "Check the model files with `antiphon models verify`.",
        signals=("SIGBUS",),
    ),
    CrashHint(
        "A native library gave up by itself (a failed assertion, or memory that it could not get). What it wrote "
        "says why.",
        signals=("SIGABRT",),
    ),
    CrashHint(
        "A native library crashed. Check the model files with `antiphon models verify`, and try another version of "
        "the package that the trace names.",
        signals=("SIGSEGV", "SIGFPE"),
    ),
)

_MEANINGS = {
    "SIGSEGV": "segmentation fault",
    "SIGILL": "illegal instruction",
    "SIGBUS": "bus error",
    "SIGABRT": "abort",
    "SIGFPE": "arithmetic fault",
    "SIGKILL": "killed",
    "SIGTERM": "terminated",
}


def how_it_ended(returncode: int) -> tuple[str, str]:
    """The signal's name ("" if it was none), and a phrase, for a child process's return code."""
    if returncode >= 0:
        return "", f"its process ended with exit code {returncode}"
    name = f"signal {-returncode}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-returncode).name
    meaning = f" ({_MEANINGS[name]})" if name in _MEANINGS else ""
    return name, f"its process died of {name}{meaning}"


def explain(
    signal_name: str,
    trace: str,
    *,
    cpu_flags: frozenset[str] | None = None,
    machine: str | None = None,
    hints: tuple[CrashHint, ...] = HINTS,
) -> str:
    """What probably happened and what to do; "" if nothing is known.

    :param trace: what was running and what stderr had.
    :param cpu_flags: the processor's; None: this machine's. `machine` likewise.
    """
    flags = _cpu_flags() if cpu_flags is None else cpu_flags
    here = platform.machine() if machine is None else machine

    tests: tuple[Callable[[CrashHint], bool], ...] = (
        lambda hint: not hint.signals or signal_name in hint.signals,
        lambda hint: re.search(hint.mentions, trace, re.IGNORECASE) is not None,
        lambda hint: not hint.cpu_flag or hint.cpu_flag in flags,
        lambda hint: not hint.machine or here in hint.machine,
    )
    return next((hint.text for hint in hints if all(test(hint) for test in tests)), "")


def install_command(
    what: str,
    missing: Sequence[str],
    *,
    cpu_flags: frozenset[str] | None = None,
    machine: str | None = None,
    notes: tuple[BuildNote, ...] = BUILD_NOTES,
) -> str:
    """The command that installs `what` on this machine.

    :param what: as pip takes it: "antiphon[local-core]", or package names.
    :param missing: the import names of the packages that it brings.
    :param cpu_flags: the processor's; None: this machine's. `machine` likewise.
    """
    flags = _cpu_flags() if cpu_flags is None else cpu_flags
    here = platform.machine() if machine is None else machine
    needed = [
        note.variables for note in notes if note.package in missing and note.cpu_flag in flags and here in note.machine
    ]
    return " ".join([*needed, f'pip install "{what}"'])


@cache
def _cpu_flags() -> frozenset[str]:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.partition(":")[2].split())
    return frozenset()
