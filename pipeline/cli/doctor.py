"""`antiphon doctor`: can this configuration run on this machine? Each engine is tried once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from antiphon.pipeline.checkup import (
    AudioFinding,
    Checkup,
    EngineFinding,
    ModelFinding,
    PackageFinding,
    Problem,
    exit_code,
)
from antiphon.pipeline.cli.common import ConfigArgument, JsonOption, SetOption, explained
from antiphon.pipeline.config import load_config
from antiphon.pipeline.machine import Machine

_MARKS = {
    "ok": ("ok", "green"),
    "missing": ("missing", "red"),
    "failed": ("failed", "bold red"),
    "skipped": ("-", "dim"),
}
_INDENT = 2
_NAME_WIDE = 16


@explained
def doctor(
    config: ConfigArgument = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="For each engine.", min=1.0)] = 120.0,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check whether a configuration can run on this machine, and say what to do where it cannot.

    Looks at the machine, the packages and the models, then tries each engine with one call, in a process of its own,
    where a crash is caught and explained. Engines at a server (cloud.yaml) are asked too.

    Exit codes: 0 all is well; 1 something failed; 2 wrong usage or configuration; 3 a package or a model is missing.
    """
    loaded = load_config(config, overrides=overrides or ())
    checkup = Checkup(loaded, config, overrides or (), timeout)
    report = _Report(config or "local.yaml", checkup, None if as_json else Console(highlight=False))
    found = report.run()
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    if code := exit_code(checkup.problems):
        raise typer.Exit(code)


class _Report:
    """Runs the check-up, prints what is found as it is found, and keeps it for JSON."""

    def __init__(self, name: str, checkup: Checkup, console: Console | None) -> None:
        self._name = name
        self._checkup = checkup
        self._show = console is not None
        self._console = console or Console(quiet=True)

    def run(self) -> dict[str, Any]:
        checkup = self._checkup
        self._console.print(Text.assemble(("antiphon doctor ", "bold"), self._name))
        machine = checkup.machine()
        self._machine(machine)
        packages = checkup.packages()
        self._packages(packages)
        with self._console.status("hashing models that are not verified yet"):
            models = checkup.models()
        self._models(models)
        with self._console.status("looking for microphone and speaker"):
            audio = checkup.audio()
        self._audio(audio)
        engines = self._engines()
        notes = checkup.notes(machine, models)
        self._summary(checkup.problems, notes)
        return {
            "config": self._name,
            "ok": not checkup.problems,
            "exit_code": exit_code(checkup.problems),
            "machine": {
                **asdict(machine),
                "store": str(checkup.store.root),
                "disk_free_bytes": checkup.disk_free_bytes(),
            },
            "packages": [asdict(one) for one in packages],
            "models": [asdict(one) for one in models],
            "audio": asdict(audio),
            "engines": [asdict(one) for one in engines],
            "notes": notes,
            "problems": [asdict(one) for one in checkup.problems],
        }

    # ------------------------------------------------------------------------------------------ sections

    def _heading(self, text: str) -> None:
        self._console.print(Text(f"\n{text}", "bold"))

    def _fact(self, name: str, value: str) -> None:
        self._console.print(
            Padding(_two_columns(Text(name, "dim"), 12, value, self._console.width), (0, 0, 0, _INDENT))
        )

    def _machine(self, machine: Machine) -> None:
        self._heading("machine")
        self._fact("system", f"{machine.system}, {machine.architecture}")
        features = f"; {', '.join(machine.features)}" if machine.features else ""
        self._fact("processor", f"{machine.processor}, {_cores(machine.cores)}{features}")
        free = f", {_gib(machine.memory_free_bytes)} free" if machine.memory_free_bytes is not None else ""
        self._fact("memory", f"{_gib(machine.memory_bytes)}{free}")
        room = self._checkup.disk_free_bytes()
        self._fact("store", f"{self._checkup.store.root}" + (f", {_gib(room)} free" if room is not None else ""))
        self._fact("python", machine.python)

    def _packages(self, findings: Sequence[PackageFinding]) -> None:
        self._heading("packages")
        for finding in findings:
            installed = (finding.distribution or finding.name).replace("_", "-")
            value = finding.version or "?" if not finding.install else finding.install
            used = f"  {', '.join(finding.needed_by)}" if finding.needed_by else ""
            self._row("missing" if finding.install else "ok", installed, Text.assemble(value, (used, "dim")))

    def _models(self, findings: Sequence[ModelFinding]) -> None:
        self._heading("models")
        for finding in findings:
            size = f"{finding.size_bytes / 1e6:,.1f} MB" if finding.size_bytes is not None else ""
            state = "verified" if finding.state == "ok" else "not here"
            about = Text.assemble(f"{size:>10}  {state}", (f"  {', '.join(finding.keys)}", "dim"))
            self._row(finding.state, finding.reference, about, wide=28)
        if not findings:
            self._console.print(Text("  none are needed", "dim"))

    def _audio(self, finding: AudioFinding) -> None:
        self._heading("microphone and speaker")
        for name, device in (("microphone", finding.input), ("speaker", finding.output)):
            if device is not None:
                self._row("ok", name, Text(device))
        if finding.note:
            note = f"{finding.note}; only needed to talk live, recordings work without"
            self._console.print(
                Padding(_two_columns(Text("-", "dim"), 8, note, self._console.width), (0, 0, 0, _INDENT))
            )

    def _engines(self) -> list[EngineFinding]:
        self._heading("engines, each tried once")
        head = f"{'':<10}{'':<7}{'':<{_NAME_WIDE}}{'load':>9}{'call':>9}{'memory':>8}"
        self._console.print(Text(head, "dim"))
        findings = []
        workflow = self._checkup.workflow()
        trials = self._checkup.engines()
        while True:
            with self._console.status("trying the next engine"):
                finding = next(trials, None)
            if finding is None:
                break
            self._engine(finding)
            findings.append(finding)
        if workflow is not None:
            self._engine(workflow)
            findings.append(workflow)
        return findings

    def _engine(self, finding: EngineFinding) -> None:
        mark, style = _MARKS[finding.state]
        line = Text.assemble("  ", (f"{mark:<8}", style), f"{finding.path:<7}", f"{finding.engine:<{_NAME_WIDE}}")
        if len(finding.engine) >= _NAME_WIDE:
            self._console.print(line)
            line = Text(" " * (17 + _NAME_WIDE))
        if finding.tried is not None:
            tried = finding.tried
            line.append(f"{_time(tried.load_s):>9}{_time(tried.call_s):>9}{f'{tried.memory_mb:.0f} MB':>8}")
            self._console.print(line)
            line = Text(f"{'':<17}{tried.what}", "dim")
        elif finding.state == "skipped":
            line.append("  not tried: see above", "dim")
        self._console.print(line)

    def _summary(self, problems: Sequence[Problem], notes: Sequence[str]) -> None:
        for note in notes:
            self._console.print(Text(f"\nnote: {note}", "yellow"))
        if not problems:
            self._console.print(Text("\nAll is well.", "bold green"))
            return
        self._heading("1 problem" if len(problems) == 1 else f"{len(problems)} problems")
        for number, problem in enumerate(problems, 1):
            self._console.print(
                Padding(Text.assemble(f"{number}. ", (problem.where, "bold red"), f": {problem.message}"), (0, 0, 0, 2))
            )
            for line in problem.todo.splitlines():
                # Commands are to be copied: they are not folded at the width of the screen.
                self._console.print(Text(f"     {line}", "cyan"), soft_wrap=True)

    def _row(self, state: str, name: str, about: Text, *, wide: int = 20) -> None:
        mark, style = _MARKS[state]
        self._console.print(Text.assemble("  ", (f"{mark:<8}", style), f"{name:<{wide}} ", about))


def _two_columns(name: Text, wide: int, value: str, width: int) -> Text:
    """`value` beside `name`, its further lines under its first."""
    lines = Text(value).wrap(Console(width=width), max(20, width - wide - _INDENT))
    joined = Text("\n" + " " * wide).join(lines)
    return Text.assemble(name, " " * (wide - len(name)), joined)


def _cores(cores: float) -> str:
    return f"{cores:g} core{'' if cores == 1 else 's'}"


def _gib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 2**30:.1f} GiB"


def _time(seconds: float) -> str:
    return (
        f"{seconds:.2f} s"
        if seconds >= 1
        else f"{seconds * 1000:.1f} ms"
        if seconds < 0.01
        else f"{seconds * 1000:.0f} ms"
    )
