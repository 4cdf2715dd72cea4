"""The scenarios of the examples."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from antiphon.testing import load_scenario, run_scenario

FOLDER = Path(__file__).parents[2] / "examples" / "scenarios"
WITHOUT_MODELS = {"dictation"}


def scenarios() -> list[object]:
    files = sorted(FOLDER.glob("*.scenario.yaml"))
    names = [file.name.partition(".")[0] for file in files]
    assert set(names) >= WITHOUT_MODELS
    marks = [[] if name in WITHOUT_MODELS else [pytest.mark.real] for name in names]
    return [pytest.param(file, id=name, marks=mark) for file, name, mark in zip(files, names, marks, strict=True)]


@pytest.mark.parametrize("path", scenarios())
def test_an_example(path: Path) -> None:
    result = asyncio.run(run_scenario(load_scenario(path)))
    assert result.passed, f"\n{result}"
    assert len(result.turns) == len(result.scenario.spec.turns)
