"""`antiphon engines list | show`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from antiphon.engines.errors import UnknownEngine
from antiphon.engines.protocols import STAGES
from antiphon.engines.registry import EngineSpec, specs
from antiphon.pipeline.cli.common import JsonOption
from antiphon.pipeline.config.reference import OptionFacts, find_specs, option_facts

EXIT_CODES = "Exit codes: 0 done; 1 no engine of that name; 2 wrong usage."

app = typer.Typer(help=f"Which engines there are, and every option of each.\n\n{EXIT_CODES}", no_args_is_help=True)


@app.command("list")
def list_engines(as_json: JsonOption = False) -> None:
    """List the engines of every stage: built in, and of other installed packages."""
    found = list(specs().values())
    if as_json:
        typer.echo(json.dumps([_about(spec) for spec in found], indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False)
    wide = max(len(spec.name) for spec in found) + 2
    for stage in STAGES:
        console.print(Text(stage, "bold"))
        for spec in found:
            if spec.stage == stage:
                _print_row(console, spec, wide)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="stage.name, a name in every stage that has it, or module:Class.")],
    as_json: JsonOption = False,
) -> None:
    """Print every option of an engine: type, unit, default, meaning.

    Exit codes: 0 done; 1 no engine of that name; 2 wrong usage.
    """
    try:
        found = find_specs(name)
    except UnknownEngine as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    if as_json:
        listed = [_about(spec) | {"options": [facts.as_dict() for facts in _options(spec)]} for spec in found]
        typer.echo(json.dumps(listed, indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False)
    for index, spec in enumerate(found):
        if index:
            console.print()
        _print_engine(console, spec, name)


def _options(spec: EngineSpec) -> list[OptionFacts]:
    return option_facts(spec.options_class())


def _about(spec: EngineSpec) -> dict[str, Any]:
    missing = spec.missing_packages()
    return {
        "stage": spec.stage,
        "name": spec.name,
        "summary": spec.summary,
        "extra": spec.extra,
        "licence": spec.licence,
        "local": spec.local,
        "installed": not missing,
        "missing_packages": missing,
    }


def _print_row(console: Console, spec: EngineSpec, wide: int) -> None:
    installed = Text("not installed", "red") if spec.missing_packages() else Text("installed", "green")
    extra = spec.extra or "no extra"
    console.print(
        Text.assemble("  ", (f"{spec.name:<{wide}}", "bold cyan"), f"{extra:<12}{spec.licence or '-':<18}", installed)
    )
    console.print(Padding(Text(spec.summary, "dim"), (0, 0, 0, 6), expand=False))


def _print_engine(console: Console, spec: EngineSpec, asked_for: str) -> None:
    title = asked_for if ":" in asked_for else f"{spec.stage}.{spec.name}"
    console.print(Text.assemble((title, "bold"), f"  {spec.summary}"))
    facts = [f"licence {spec.licence}"] if spec.licence else []
    facts.append("runs on this machine" if spec.local else "asks a server at base_url")
    if missing := spec.missing_packages():
        facts.append(f"not installed: {spec.install_command(missing)}")
    else:
        facts.append("installed")
    console.print(Text("; ".join(facts), "dim"))
    options = _options(spec)
    if not options:
        console.print("No options.")
    for item in options:
        _print_option(console, item)


def _print_option(console: Console, item: OptionFacts) -> None:
    default = Text(" (required)", "yellow") if item.required else Text(f": {item.default}")
    console.print(Padding(Text.assemble((item.name, "bold cyan"), default), (1, 0, 0, 2), expand=False))
    unit = f"; unit: {item.unit}" if item.unit else ""
    secret = "; secret, never shown" if item.secret else ""
    console.print(Padding(Text(f"{item.type}{unit}{secret}", "dim"), (0, 0, 0, 6), expand=False))
    console.print(Padding(Text(item.meaning), (0, 0, 0, 6), expand=False))
