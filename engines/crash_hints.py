"""What is known about native crashes: from the signal and what was left on stderr to an explanation and a remedy."""

from __future__ import annotations

import contextlib
import platform
import re
import signal
from collections.abc import Callable
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


_X86 = ("x86_64", "AMD64", "i686")

HINTS: tuple[CrashHint, ...] = (
    CrashHint(
        "This processor has AMX, and GCC 12 compiles llama.cpp's AMX code wrongly: it crashes at the first decode. "
        "Build llama-cpp-python again without AMX:\n"
        "  CMAKE_ARGS=\"-DCMAKE_C_FLAGS='-mno-amx-tile -mno-amx-int8 -mno-amx-bf16' "
        "-DCMAKE_CXX_FLAGS='-mno-amx-tile -mno-amx-int8 -mno-amx-bf16' -DLLAVA_BUILD=OFF\" "
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


@cache
def _cpu_flags() -> frozenset[str]:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.partition(":")[2].split())
    return frozenset()
