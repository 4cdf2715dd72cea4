"""The pytest plugin: files named `*.scenario.yaml` are tests.

Loaded by its entry point in every pytest run where antiphon is installed, so nothing heavy is imported up here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SUFFIXES = (".scenario.yaml", ".scenario.yml")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.name.endswith(SUFFIXES):
        return ScenarioFile.from_parent(parent, path=file_path)
    return None


class ScenarioFile(pytest.File):
    """A scenario's file: one test."""

    def collect(self) -> Iterator[pytest.Item]:
        yield ScenarioItem.from_parent(self, name=self.path.name.partition(".scenario.")[0])


class _Failed(Exception):
    """Carries what a scenario's failure shows."""


class ScenarioItem(pytest.Item):
    """A scenario as a test."""

    def runtest(self) -> None:
        import asyncio

        from antiphon.pipeline.testkit.runner import run_scenario
        from antiphon.pipeline.testkit.scenario import load_scenario

        result = asyncio.run(run_scenario(load_scenario(self.path)))
        if not result.passed:
            raise _Failed(str(result))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """A failed expectation or a problem of the file as text; anything else with its traceback."""
        from antiphon.engines.errors import AntiphonError

        if isinstance(excinfo.value, _Failed | AntiphonError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"scenario {self.name}"
