"""The generated pages of the command line and of the events have everything that there is."""

from __future__ import annotations

import dataclasses
import json
import re

from typer.testing import CliRunner

from antiphon.pipeline.cli import app
from antiphon.pipeline.cli.common import EXIT_CODES
from antiphon.pipeline.docs_cli import cli_page, events_page
from antiphon.pipeline.events import EVENT_TYPES, Event, Timings

COMMANDS = [
    ["run"],
    ["chat"],
    ["say"],
    ["transcribe"],
    ["serve"],
    ["doctor"],
    ["test"],
    *(["models", name] for name in ("list", "show", "pull", "verify", "path", "export", "import", "prune")),
    *(["engines", name] for name in ("list", "show")),
    *(["config", name] for name in ("check", "show", "schema")),
    *(
        ["bench", name]
        for name in ("run", "compare", "sweep", "load", "ablate", "label", "report", "scenarios", "serve", "tools")
    ),
    *(["keys", name] for name in ("create", "list", "revoke")),
    *(["approvals", name] for name in ("list", "show", "grant", "refuse")),
    *(["transcripts", name] for name in ("list", "show", "export", "replay", "erase", "prune", "upgrade")),
    *(["bench", "peers", name] for name in ("install", "list")),
]


def test_the_command_line_page_has_every_option_that_the_help_has() -> None:
    """The page is made from the functions, the help by typer: where they differ, the page is wrong."""
    page = cli_page()
    for command in COMMANDS:
        result = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
        assert result.exit_code == 0, command
        section = page.split(f"# `antiphon {' '.join(command)}`\n")[1].split("\n## ")[0].split("\n### ")[0]
        words = result.stdout.replace("│", " ").replace(",", " ").split()
        options = {word for word in words if re.fullmatch(r"--[a-z-]+", word)} - {"--help"}
        for option in options:
            assert f"`{option}" in section, (command, option)
        assert "antiphon " + " ".join(command) + " [OPTIONS]" in section


def test_every_command_is_on_the_page_and_in_this_test() -> None:
    titles = {line.strip("# `") for line in cli_page().splitlines() if line.startswith("#") and "`antiphon" in line}
    groups = {"antiphon models", "antiphon engines", "antiphon config", "antiphon bench", "antiphon bench peers"}
    groups |= {"antiphon keys", "antiphon approvals", "antiphon transcripts"}
    assert titles - groups == {f"antiphon {' '.join(command)}" for command in COMMANDS}
    assert groups <= titles


def test_the_exit_codes_are_on_the_page_and_in_the_help_of_the_commands() -> None:
    page = cli_page()
    for code, meaning in EXIT_CODES.items():
        assert f"| `{code}` | {meaning} |" in page
    for command in ("run", "chat", "say", "transcribe", "doctor"):
        section = page.split(f"## `antiphon {command}`\n")[1].split("\n## ")[0]
        assert "Exit codes: 0 " in section and "; 2 wrong usage" in section


def test_the_exit_codes_of_the_groups_are_on_the_page_and_in_their_help() -> None:
    page = cli_page()
    table = page.split("| command | `0` | `1` | `2` |\n")[1].split("\n\n")[0]
    for command in (command for command in COMMANDS if command[0] in ("models", "engines", "config")):
        assert f"`{' '.join(command)}`" in table
    for group in ("models", "engines", "config"):
        shown = CliRunner().invoke(app, [group, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).stdout
        assert "Exit codes: 0 done" in shown
        assert "Exit codes: 0 done" in page.split(f"## `antiphon {group}`\n")[1].split("\n### ")[0]


def test_the_events_page_has_every_event_and_field() -> None:
    page = events_page()
    common = {field.name for field in dataclasses.fields(Event)}
    for name in common:
        assert f"`{name}`" in page.split("## ")[0]
    for kind in EVENT_TYPES:
        section = page.split(f"## `{kind.type}`\n")[1].split("\n## ")[0]
        for field in dataclasses.fields(kind):
            assert field.name in common or f"| `{field.name}` | `" in section
    for field in dataclasses.fields(Timings):
        row = next(line for line in page.splitlines() if line.startswith(f"| `{field.name}` |"))
        assert row.replace("\\|", "").split("|")[3].strip(), f"{field.name} has no meaning"
    example = json.loads(page.split("```json\n")[1].split("\n```")[0])
    assert common | {"type", "at_s"} == set(example)
