"""The examples at the end of `--help` can be typed as they stand."""

from __future__ import annotations

import shlex

import pytest
import typer
from typer.testing import CliRunner

from antiphon.pipeline.cli import app
from antiphon.pipeline.cli.examples import EXAMPLES

LINES = [(command, line) for command, lines in EXAMPLES.items() for line in lines]


@pytest.mark.parametrize(("command", "line"), LINES)
def test_an_example_is_a_right_call(command: str, line: str) -> None:
    _, name, *arguments = shlex.split(line)
    assert command in ("", name)
    group = typer.main.get_group(app)
    group.commands[name].make_context(name, arguments)  # parsed, and not run


@pytest.mark.parametrize("command", [command for command in EXAMPLES])
def test_help_ends_with_them(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == 0
    for line in EXAMPLES[command]:
        assert line in result.output
