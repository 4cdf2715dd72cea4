"""The command line: `antiphon ...`."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from antiphon.pipeline.cli import approvals, bench, config, engines, keys, models, transcripts
from antiphon.pipeline.cli.chat import chat
from antiphon.pipeline.cli.doctor import doctor
from antiphon.pipeline.cli.examples import examples
from antiphon.pipeline.cli.run import run
from antiphon.pipeline.cli.say import say
from antiphon.pipeline.cli.serve import serve
from antiphon.pipeline.cli.test import test
from antiphon.pipeline.cli.transcribe import transcribe

app = typer.Typer(
    name="antiphon",
    help="A chained voice pipeline that you run yourself: speech in, an agent in plain text, speech out.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog=examples(""),
)
for command in (run, chat, say, transcribe, test, serve, doctor):
    app.command(epilog=examples(command.__name__))(command)
app.add_typer(models.app, name="models")
app.add_typer(engines.app, name="engines")
app.add_typer(config.app, name="config")
app.add_typer(bench.app, name="bench")
app.add_typer(approvals.app, name="approvals")
app.add_typer(keys.app, name="keys")
app.add_typer(transcripts.app, name="transcripts")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"antiphon {version('antiphon')}")
        raise typer.Exit


@app.callback()
def _global_options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens to standard error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(levelname)s %(name)s: %(message)s")


def main() -> None:
    """Entry point of the `antiphon` script."""
    app()
