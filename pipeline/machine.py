"""What this machine is: system, processor, memory, disk. Reads files of the system; runs and changes nothing."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_FEATURES: Mapping[str, str] = {
    "avx2": "AVX2",
    "fma": "FMA",
    "f16c": "F16C",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512-VNNI",
    "avx512_bf16": "AVX-512-BF16",
    "amx_tile": "AMX",
    "asimd": "NEON",
    "asimddp": "dot product",
    "i8mm": "I8MM",
    "bf16": "BF16",
    "sve": "SVE",
    "sve2": "SVE2",
}
"""Processor flags that inference libraries ask for, in the words of their manuals."""


@dataclass(frozen=True, slots=True)
class Machine:
    system: str
    architecture: str
    processor: str
    features: tuple[str, ...]
    """Of the instruction sets that inference libraries use, those that this processor has."""
    cores: float
    """What this process may use: the container's limit, where there is one, may be a fraction."""
    memory_bytes: int | None
    """Of the machine, or the container's limit where that is less; None: unknown."""
    memory_free_bytes: int | None
    python: str


def this_machine() -> Machine:
    cpu = _cpu_info()
    total, free = _memory()
    return Machine(
        system=_system(),
        architecture=platform.machine(),
        processor=cpu.get("model name") or cpu.get("Model") or platform.processor() or "unknown",
        features=_features(cpu.get("flags") or cpu.get("Features") or ""),
        cores=_cores(),
        memory_bytes=total,
        memory_free_bytes=free,
        python=f"{platform.python_version()} ({platform.python_implementation()}), {sys.executable}",
    )


def disk_free_bytes(path: Path) -> int | None:
    """Room on the disk that holds `path`, or will hold it; None: unknown."""
    there = next((folder for folder in (path, *path.parents) if folder.exists()), None)
    with contextlib.suppress(OSError):
        return shutil.disk_usage(there).free if there is not None else None
    return None


def _system() -> str:
    kernel = f"{platform.system()} {platform.release()}"
    with contextlib.suppress(OSError):
        return f"{platform.freedesktop_os_release().get('PRETTY_NAME', '')}, {kernel}".removeprefix(", ")
    return f"macOS {platform.mac_ver()[0]}" if sys.platform == "darwin" else kernel


def _cpu_info() -> dict[str, str]:
    """The first processor's entry of /proc/cpuinfo; empty where there is no such file."""
    entry: dict[str, str] = {}
    for line in _text("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        entry.setdefault(key.strip(), value.strip())
    return entry


def _features(flags: str) -> tuple[str, ...]:
    has = set(flags.split())
    return tuple(name for flag, name in _FEATURES.items() if flag in has)


def _cores() -> float:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _text("/sys/fs/cgroup/cpu.max").strip().partition(" ")
    if quota.isdigit() and period.isdigit() and int(period):
        return min(float(allowed), int(quota) / int(period))
    return float(allowed)


def _memory() -> tuple[int | None, int | None]:
    """Bytes in all and free, of the machine or of the container, whichever has less."""
    found = re.findall(r"^(\w+):\s+(\d+) kB", _text("/proc/meminfo"), re.MULTILINE)
    sizes = {name: int(kilobytes) * 1024 for name, kilobytes in found}
    if "MemTotal" not in sizes:
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
        except (ValueError, OSError, AttributeError):
            return None, None
    total = sizes["MemTotal"]
    free = sizes.get("MemAvailable", sizes.get("MemFree", 0))
    limit, used = (_text(f"/sys/fs/cgroup/memory.{name}").strip() for name in ("max", "current"))
    if limit.isdigit() and used.isdigit() and int(limit) < total:
        return int(limit), min(free, max(0, int(limit) - int(used)))
    return total, free


def _text(path: str) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return Path(path).read_text()
    return ""
