"""`antiphon config check | show | schema`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from antiphon.pipeline.cli.common import ConfigArgument, JsonOption, SetOption
from antiphon.pipeline.config import InvalidConfig, config_data, dump_config, json_schema, load_config, trace_config

app = typer.Typer(
    help="Check, show and describe configurations.\n\n"
    "Exit codes: 0 done, or valid; 1 the configuration has mistakes; 2 wrong usage.",
    no_args_is_help=True,
)


@app.command()
def check(
    config: ConfigArgument = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether a configuration is valid, or everything that is wrong with it.

    Exit code: 0 valid, 1 not. Models and packages are not looked for; `antiphon doctor` does that.
    """
    problems = []
    try:
        load_config(config, overrides=overrides or ())
    except InvalidConfig as error:
        problems = list(error.problems)
    name = config or "local.yaml"
    if as_json:
        listed = [
            {
                "file": problem.origin.file,
                "line": problem.origin.line,
                "key": problem.key,
                "message": problem.message,
                "hint": problem.hint,
            }
            for problem in problems
        ]
        typer.echo(json.dumps({"config": name, "ok": not problems, "problems": listed}, indent=2))
    elif problems:
        for problem in problems:
            typer.echo(str(problem), err=True)
        count = len(problems)
        typer.echo(f"{name}: {count} problem{'s' if count > 1 else ''}", err=True)
    else:
        typer.echo(f"{name}: ok")
    if problems:
        raise typer.Exit(1)


@app.command()
def show(
    config: ConfigArgument = None,
    overrides: SetOption = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print a configuration as it takes effect: merged, filled in, with all defaults; secrets are masked.

    Exit codes: 0 done; 1 the configuration has mistakes; 2 wrong usage.
    """
    if origin and as_json:
        raise typer.BadParameter("--origin writes comments, which JSON does not have: give one of --origin and --json")
    try:
        loaded, tree = trace_config(config, overrides=overrides or ())
    except InvalidConfig as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(config_data(loaded), indent=2, ensure_ascii=False))
        return
    typer.echo(dump_config(loaded, origins=tree if origin else None), nl=False)


@app.command()
def schema() -> None:
    """Print the JSON Schema of configuration files, for editors."""
    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
