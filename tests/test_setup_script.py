"""What scripts/setup.py installs, and with which flags llama.cpp is compiled."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
OURS = f"-DCMAKE_C_FLAGS='{AMX}' -DCMAKE_CXX_FLAGS='{AMX}'"


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, on an x86 machine whose compiler knows AMX."""
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / "scripts" / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(module, "compiler_takes", lambda _: True)
    return module


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", f"-DLLAVA_BUILD=OFF {OURS}"),
        ("-DGGML_BLAS=ON", f"-DGGML_BLAS=ON -DLLAVA_BUILD=OFF {OURS}"),
        ("-DLLAVA_BUILD=ON", f"-DLLAVA_BUILD=ON {OURS}"),
    ],
)
def test_our_flags_stand_behind_the_users(setup: ModuleType, given: str, expected: str) -> None:
    assert setup.cmake_args(given) == expected


@pytest.mark.parametrize("given", ["-DCMAKE_C_FLAGS=-O2", "-DCMAKE_CXX_FLAGS=-O2"])
def test_the_users_own_compiler_flags_stay(setup: ModuleType, capsys: pytest.CaptureFixture[str], given: str) -> None:
    assert setup.cmake_args(given) == f"{given} -DLLAVA_BUILD=OFF"
    assert AMX in capsys.readouterr().out


def test_other_machines_have_no_such_flags(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup.platform, "machine", lambda: "aarch64")
    assert setup.cmake_args() == "-DLLAVA_BUILD=OFF"


def test_what_the_readme_uses_is_installed(setup: ModuleType) -> None:
    assert "from agents import" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert {"local", "mic", "cloud", "agents"} <= set(setup.EXTRAS["run"].split(","))
    assert set(setup.EXTRAS["run"].split(",")) <= set(setup.EXTRAS["dev"].split(","))
