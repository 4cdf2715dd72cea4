"""`antiphon test`: scenarios as tests of an agent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from antiphon.engines.errors import AntiphonError
from antiphon.pipeline.cli.common import EXIT_FAILED, JsonOption, exit_code, explained
from antiphon.pipeline.testkit.runner import ScenarioResult, run_scenario
from antiphon.pipeline.testkit.scenario import SUFFIXES, load_scenario


@explained
def test(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Scenarios, or folders in which all *.scenario.yaml are run."),
    ],
    as_json: JsonOption = False,
) -> None:
    """Run scenarios: conversations with expectations, each against the configuration that it names.

    A failure shows the scenario's file and line, what was expected, and the turn as it was. The format stands in
    docs/testing.md; with pytest the same files are tests by themselves.

    Exit codes: 0 all passed; 1 one failed, or there is none; 2 a scenario or configuration has mistakes; 3 a package or
    model is missing; 130 stopped with Ctrl-C.
    """
    files = find_scenarios(paths)
    if not files:
        raise typer.BadParameter(f"no *.scenario.yaml in {', '.join(map(str, paths))}")
    console = Console(stderr=as_json, highlight=False)
    worst = 0
    report: list[dict[str, Any]] = []
    for file in files:
        try:
            result = asyncio.run(run_scenario(load_scenario(file)))
        except AntiphonError as error:
            worst = max(worst, exit_code(error))
            _show(console, file.name, str(error), passed=False)
            report.append({"file": str(file), "passed": False, "error": str(error)})
            continue
        worst = max(worst, 0 if result.passed else EXIT_FAILED)
        _show(console, result.scenario.name, str(result), passed=result.passed)
        report.append(_entry(result))
    failed = sum(not entry["passed"] for entry in report)
    console.print(f"{len(report) - failed} passed, {failed} failed")
    if as_json:
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
    if worst:
        raise typer.Exit(worst)


def find_scenarios(paths: Sequence[Path]) -> list[Path]:
    """The files that are meant, in order.

    :raises typer.BadParameter: a path does not exist.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(file for file in path.rglob("*") if file.name.endswith(SUFFIXES))
        elif path.exists():
            files.append(path)
        else:
            raise typer.BadParameter(f"there is no {path}")
    return files


def _show(console: Console, name: str, message: str, *, passed: bool) -> None:
    console.print(Text("passed ", "green") if passed else Text("FAILED ", "bold red"), Text(name), sep="")
    for line in message.splitlines():
        console.print(Text(f"  {line}"), soft_wrap=True)


def _entry(result: ScenarioResult) -> dict[str, Any]:
    return {
        "file": str(result.scenario.path),
        "name": result.scenario.name,
        "passed": result.passed,
        "failures": [asdict(failure) for failure in result.failures],
        "turns": [asdict(turn) for turn in result.turns],
    }
