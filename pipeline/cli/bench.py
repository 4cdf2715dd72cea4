"""`antiphon bench`: how fast, how accurate, at what cost."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from antiphon.benchmarks import machine
from antiphon.benchmarks.clips import Clip, load_clips
from antiphon.benchmarks.records import BenchResult, ConfigResult
from antiphon.benchmarks.result import REPORT, RESULT, now, read_result, write_result
from antiphon.benchmarks.run import Entry, Options, run_turn_about
from antiphon.benchmarks.own import AntiphonSubject
from antiphon.pipeline.cli.bench_show import Reporter, table
from antiphon.pipeline.cli.common import EXIT_FAILED, EXIT_INTERRUPTED, SetOption, explained
from antiphon.pipeline.config import Config, load_config

app = typer.Typer(help="Measure: how fast, how accurate, at what cost.", no_args_is_help=True)


@app.callback()
def _bench() -> None:
    """Measure: how fast, how accurate, at what cost."""


@app.command()
@explained
def run(
    configs: Annotated[list[str], typer.Argument(metavar="CONFIG...", help="YAML files, or names of packaged ones.")],
    clips: Annotated[Path, typer.Option(metavar="DIR", help="A folder of 16 kHz WAVs with index.tsv.")],
    out: Annotated[Path, typer.Option(metavar="OUT", help="Folder for result.json and report.html.")],
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=VALUE", help="Only these clips, for example lang=en. May be repeated."),
    ] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", help="At most so many clips.", min=1)] = None,
    runs: Annotated[int, typer.Option(metavar="N", help="Play every clip so often.", min=1)] = 1,
    warmup: Annotated[
        int, typer.Option(metavar="N", help="Turns first that do not count; the first of them is the cold one.", min=0)
    ] = 1,
    concurrency: Annotated[
        str, typer.Option(metavar="N,N,...", help="Sessions at the same time; each number is measured.")
    ] = "1",
    overrides: SetOption = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite another run's result in OUT.")] = False,
) -> None:
    """Play clips to configurations in real time, and measure the answers.

    Exit codes: 0 done; 1 nothing could be measured, or every turn failed; 2 wrong usage or configuration; 3 a package
    or a model is missing; 130 stopped with Ctrl-C (what was measured until then is written).
    """
    options = Options(runs=runs, warmup=warmup, concurrency=_numbers(concurrency))
    chosen = load_clips(clips, where=where or ())[:limit]
    loaded = [(Path(name).name, load_config(name, overrides=overrides or ())) for name in configs]
    _refuse_to_overwrite(out, force)
    settings = dict(part.split("=", 1) for part in overrides or ())
    console = Console(highlight=False)
    job = _Job(loaded, settings, chosen, options, console)
    result = BenchResult(
        created=now(),
        command=f"antiphon bench {' '.join(_command(sys.argv))}",
        machine=machine.machine_block(),
        versions=machine.versions_block(),
        commit=machine.commit(),
        clips=machine.clips_block(clips, chosen, where or ()),
    )
    raise NotImplementedError
