"""What is read of the machine, from the files of several kinds of machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.pipeline import machine

X86 = """processor\t: 0
model name\t: Some Processor 9
flags\t\t: fpu sse4_2 avx2 fma f16c avx512f amx_tile something_else

processor\t: 1
model name\t: Another
flags\t\t: fpu
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n\nModel\t\t: Some Board 5\n"
MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The system's files: those that are put in here, and no other."""
    content: dict[str, str] = {}
    monkeypatch.setattr(machine, "_text", lambda path: content.get(path, ""))
    return content


def test_an_x86_processor(files: dict[str, str]) -> None:
    files["/proc/cpuinfo"] = X86
    found = machine.this_machine()
    assert found.processor == "Some Processor 9"
    assert found.features == ("AVX2", "FMA", "F16C", "AVX-512", "AMX")


def test_an_arm_processor(files: dict[str, str]) -> None:
    files["/proc/cpuinfo"] = ARM
    found = machine.this_machine()
    assert (found.processor, found.features) == ("Some Board 5", ("NEON", "dot product", "I8MM"))


def test_memory_of_the_machine_or_of_its_container(files: dict[str, str]) -> None:
    files["/proc/meminfo"] = MEMINFO
    whole = machine.this_machine()
    assert (whole.memory_bytes, whole.memory_free_bytes) == (16_000_000 * 1024, 8_000_000 * 1024)
    files["/sys/fs/cgroup/memory.max"] = "1000000000\n"
    files["/sys/fs/cgroup/memory.current"] = "400000000\n"
    limited = machine.this_machine()
    assert (limited.memory_bytes, limited.memory_free_bytes) == (1_000_000_000, 600_000_000)
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert machine.this_machine().memory_bytes == whole.memory_bytes


def test_cores_of_a_container(files: dict[str, str]) -> None:
    every = machine.this_machine().cores
    files["/sys/fs/cgroup/cpu.max"] = "50000 100000\n"
    assert machine.this_machine().cores == 0.5
    files["/sys/fs/cgroup/cpu.max"] = "max 100000\n"
    assert machine.this_machine().cores == every >= 1


def test_a_system_without_these_files(files: dict[str, str]) -> None:
    found = machine.this_machine()
    assert found.features == () and found.processor and found.system and found.python
    assert found.memory_bytes is None or found.memory_bytes > 0


def test_room_on_the_disk(tmp_path: Path) -> None:
    assert machine.disk_free_bytes(tmp_path / "not" / "there") == pytest.approx(
        machine.disk_free_bytes(tmp_path), rel=0.1
    )
