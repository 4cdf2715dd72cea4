"""Where and with what a run was made: enough to compare, nothing that tells whose machine it is."""

from __future__ import annotations

import hashlib
import platform
import re
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from antiphon.benchmarks.clips import INDEX, Clip
from antiphon.pipeline.machine import this_machine

_PACKAGES = (
    "antiphon",
    "ctranslate2",
    "faster-whisper",
    "llama-cpp-python",
    "onnxruntime",
    "piper-tts",
    "webrtcvad-wheels",
    "numpy",
    "soxr",
    "openai",
    "openai-agents",
    "jiwer",
    "whisper-normalizer",
)


def machine_block() -> dict[str, Any]:
    """Processor, memory, system. No host name, no user, no path."""
    machine = this_machine()
    return {
        "processor": machine.processor,
        "architecture": machine.architecture,
        "cores": machine.cores,
        "features": list(machine.features),
        "memory_gib": round(machine.memory_bytes / 2**30, 1) if machine.memory_bytes else None,
        "system": re.sub(r"(\d+\.\d+)\S*$", r"\1", machine.system),  # a kernel's full name may tell its owner
    }


def versions_block() -> dict[str, str]:
    """Python and the packages that matter to the numbers, as far as they are installed."""
    found = {"python": f"{platform.python_version()} ({platform.python_implementation()})"}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit of the checkout, "+" after it if files were changed since; the version outside of a checkout."""
    here = Path(__file__).resolve().parent
    try:
        head = _git(here, "rev-parse", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return f"v{version('antiphon')}"
    return head + ("+" if changed else "")


def clips_block(folder: Path, clips: Sequence[Clip], where: Sequence[str]) -> dict[str, Any]:
    """Which clips were played: the name of the set, never where it lies."""
    return {
        "name": folder.resolve().name,
        "clips": len(clips),
        "where": list(where),
        "index_sha256": hashlib.sha256((folder / INDEX).read_bytes()).hexdigest(),
    }


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()
