"""`antiphon doctor`: can this configuration run on this machine? Each engine is tried once."""

from __future__ import annotations

import importlib.util
import json
import logging
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
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
from antiphon.pipeline.errors import ConfigError
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
    with _quiet_hosts():
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
        workflow = self._workflow()
        server = self._server()
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
            "workflow": asdict(workflow) if workflow is not None else None,
            "server": server,
            "engines": [asdict(one) for one in engines],
            "notes": notes,
            "problems": [asdict(one) for one in checkup.problems],
        }

    # ------------------------------------------------------------------------------------------ sections

    def _heading(self, text: str) -> None:
        self._console.print(Text(f"\n{text}", "bold"))

    def _fact(self, name: str, value: str) -> None:
        lines = _folded(value, self._console.width - 12 - _INDENT)
        self._console.print(Text.assemble(" " * _INDENT, (f"{name:<12}", "dim"), _under(lines, 12 + _INDENT)))

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
            about = Text.assemble(f"{size:>10}  {finding.condition:<8}", (f"  {', '.join(finding.keys)}", "dim"))
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
            lines = _folded(note, self._console.width - 10 - 1)
            self._row("skipped", lines[0], Text("".join(f"\n{'':<10}{line}" for line in lines[1:])), wide=0)

    def _workflow(self) -> EngineFinding | None:
        finding = self._checkup.workflow()
        if finding is not None:
            self._heading("workflow")
            self._row(finding.state, finding.engine, Text(""))
        return finding

    def _server(self) -> str | None:
        """What would protect `antiphon serve`; None: its packages are not installed."""
        if importlib.util.find_spec("starlette") is None:
            return None
        from antiphon.server.access.key_file import keys_path
        from antiphon.server.access.keyring import Keyring
        from antiphon.server.access.protection import check_address, protection, tls_of

        settings = self._checkup.config.server
        try:
            line = protection(settings, Keyring(keys_path(settings.keys_file)), tls_of(settings))
            check_address(settings)
        except ConfigError as error:
            problem = Problem(error.key or "server.keys_file", error.problem, error.hint, missing=False)
            self._checkup.problems.append(problem)
            line = "cannot start, see below"
        self._heading("antiphon serve")
        lines = _folded(line, self._console.width - _INDENT)
        self._console.print(Text.assemble(" " * _INDENT, _under(lines, _INDENT)))
        return line

    def _engines(self) -> list[EngineFinding]:
        self._heading("engines, each tried once")
        head = f"{'':<17}{'':<{_NAME_WIDE}}{'load':>9}{'call':>9}{'memory':>8}"
        self._console.print(Text(head, "dim"))
        findings: list[EngineFinding] = []
        trials = self._checkup.engines()
        while True:
            with self._console.status("trying the next engine"):
                finding = next(trials, None)
            if finding is None:
                return findings
            self._engine(finding)
            findings.append(finding)

    def _engine(self, finding: EngineFinding) -> None:
        mark, style = _MARKS[finding.state]
        line = Text.assemble("  ", (f"{mark:<8}", style), f"{finding.path:<7}", f"{finding.engine:<{_NAME_WIDE}}")
        if finding.tried is not None:
            tried = finding.tried
            if len(finding.engine) >= _NAME_WIDE:
                self._console.print(line)
                line = Text(" " * (17 + _NAME_WIDE))
            line.append(f"{_time(tried.load_s):>9}{_time(tried.call_s):>9}{f'{tried.memory_mb:.0f} MB':>8}")
            line.append(f"\n{'':<17}{tried.what}", "dim")
        elif finding.state == "skipped":
            line.append("  not tried: see above", "dim")
        else:
            line.append("  see below", "dim")
        self._console.print(line)

    def _summary(self, problems: Sequence[Problem], notes: Sequence[str]) -> None:
        for note in notes:
            self._console.print(Text(f"\nnote: {note}", "yellow"))
        if not problems:
            self._console.print(Text("\nAll is well.", "bold green"))
            return
        self._heading("1 problem" if len(problems) == 1 else f"{len(problems)} problems")
        for number, problem in enumerate(problems, 1):
            lines = _folded(f"{problem.where}: {problem.message}", self._console.width - 5)
            self._console.print(Text.assemble((f"{number:>3}. ", "bold red"), _under(lines, 5)))
            for line in problem.todo.splitlines():
                self._console.print(Text(_indented(line, self._console.width), "cyan"), soft_wrap=True)

    def _row(self, state: str, name: str, about: Text, *, wide: int = 20) -> None:
        mark, style = _MARKS[state]
        self._console.print(Text.assemble("  ", (f"{mark:<8}", style), f"{name:<{wide}}", " " if about else "", about))


def _folded(text: str, width: int) -> list[str]:
    """Lines of whole words; what is longer than a line (a path, an address) stays whole."""
    return textwrap.wrap(text, max(20, width), break_long_words=False, break_on_hyphens=False) or [""]


def _under(lines: Sequence[str], indent: int) -> Text:
    """The first line as it is, the others under it."""
    return Text(("\n" + " " * indent).join(lines))


def _indented(line: str, width: int) -> str:
    """What to do: sentences are folded, commands stay whole, to be copied."""
    if line.startswith((" ", "pip ", "CMAKE_ARGS=", "antiphon ")):
        return f"     {line}"
    return "\n".join(f"     {part}" for part in _folded(line, width - 5))


@contextmanager
def _quiet_hosts() -> Iterator[None]:
    """A crash is what the doctor is there for: its report says it, and the log need not."""
    logger = logging.getLogger("antiphon.engines.host_process")
    before = logger.level
    if not logging.getLogger().isEnabledFor(logging.INFO):
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


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
