"""What the commands of `antiphon bench` share: options, the frame of a result, and how a run is finished."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from antiphon.benchmarks import machine
from antiphon.benchmarks.clips import Clip, load_clips
from antiphon.benchmarks.records import BenchResult, ConfigResult
from antiphon.benchmarks.report import write_report
from antiphon.benchmarks.result import REPORT, RESULT, ResultError, now, to_dict, write_result
from antiphon.benchmarks.run import Options
from antiphon.engines.errors import AntiphonError
from antiphon.pipeline.cli.bench_show import show_table
from antiphon.pipeline.cli.common import EXIT_FAILED

Stopped = AntiphonError | KeyboardInterrupt | None
"""What ended a run early: an engine that cannot be loaded, Ctrl-C."""

ClipsOption = Annotated[Path, typer.Option("--clips", metavar="DIR", help="A folder of 16 kHz WAVs with index.tsv.")]
OutOption = Annotated[Path, typer.Option("--out", metavar="OUT", help="Folder for result.json and report.html.")]
WhereOption = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="COLUMN=VALUE", help="Only such clips, for example lang=en. May be repeated."),
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", metavar="N", help="At most N clips, spread evenly over the index.", min=1)
]
RunsOption = Annotated[int, typer.Option("--runs", metavar="N", help="How often each clip is played.", min=1)]
WarmupOption = Annotated[
    int,
    typer.Option("--warmup", metavar="N", help="Turns first that do not count; the very first is the cold one.", min=0),
]
StartsOption = Annotated[
    int,
    typer.Option(
        "--starts",
        metavar="N",
        help="How often the engines are loaded, after the first time in new processes; each load gives a cold turn.",
        min=1,
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite the result of another run.")]


def result_frame(
    command: str,
    configs: Sequence[str],
    clips: Path,
    chosen: Sequence[Clip],
    *,
    where: Sequence[str] = (),
    overrides: Sequence[str] = (),
    options: Options | None = None,
    barge_in: int = 0,
) -> BenchResult:
    """A result without numbers: when, where, with what. Folders stand in it by their names alone."""
    options = options or Options()
    words = ["antiphon bench", command, *(Path(name).name for name in configs), "--clips", clips.resolve().name]
    words += [part for text in where for part in ("--where", shlex.quote(text))]
    words += [part for text in overrides for part in ("--set", shlex.quote(text))]
    for name, value, default in (
        ("--limit", len(chosen), len(load_clips(clips, where=where))),
        ("--runs", options.runs, 1),
        ("--warmup", options.warmup, 1),
        ("--starts", options.starts, 1),
        ("--concurrency", ",".join(map(str, options.concurrency)), "1"),
        ("--barge-in", barge_in, 0),
    ):
        words += [] if value == default else [name, str(value)]
    return BenchResult(
        created=now(),
        command=" ".join(words),
        machine=machine.machine_block(),
        versions=machine.versions_block(),
        commit=machine.commit(),
        clips=machine.clips_block(clips, chosen, where),
    )


def option_words(option: str, values: Sequence[str]) -> list[str]:
    """A repeated option, as it stands in the command of a result."""
    return [word for value in values for word in (option, shlex.quote(value))]


def refuse_to_overwrite(out: Path, *, force: bool) -> None:
    """:raises ResultError: there is another run's result."""
    if not force and (out / RESULT).exists():
        raise ResultError(
            f"{out / RESULT} is the result of another run", hint="another --out, or --force to overwrite it"
        )


def finish(
    result: BenchResult,
    out: Path,
    console: Console,
    stopped: Stopped = None,
    *,
    show: Callable[[Sequence[ConfigResult], Console], None] = show_table,
    failing: bool = True,
) -> None:
    """Write the files, show the table, and leave with the right code.

    :param stopped: what ended the run early: what was measured is written, marked as incomplete, and then this is
        raised.
    :param show: shows the table.
    :param failing: whether a failed turn is a failure of the command.
    :raises typer.Exit: turns failed.
    """
    measured: list[ConfigResult] = [*result.configs, *result.peers]
    if any(one.turn_records for one in measured):
        result = replace(result, complete=stopped is None)
        path = write_result(result, out)
        show(measured, console)
        console.print(Text(f"wrote {path}", "dim"), soft_wrap=True)
        write_report(to_dict(result), out / REPORT)
        console.print(Text(f"wrote {out / REPORT}", "dim"), soft_wrap=True)
        if stopped is not None:
            console.print(Text("stopped before its end: the result says so", "yellow"))
    if stopped is not None:
        raise stopped
    if failing and any(one.failed for one in measured):
        raise typer.Exit(EXIT_FAILED)


def distinct_names(configs: Sequence[str]) -> list[str]:
    """What configurations are called in results: their file names, numbered where two are the same."""
    names: list[str] = []
    for source in configs:
        name = Path(source).name if source.lower().endswith((".yaml", ".yml")) else f"{source}.yaml"
        count = sum(other == name or other.startswith(f"{name} (") for other in names)
        names.append(f"{name} ({count + 1})" if count else name)
    return names


def numbers(text: str, option: str) -> tuple[int, ...]:
    """ "1,2,4" as numbers.

    :raises typer.BadParameter: it is no such list, or a number is below 1.
    """
    try:
        found = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        found = (0,)
    if min(found) < 1:
        raise typer.BadParameter(f"'{text}' is no list of numbers such as 1,2,4", param_hint=option)
    return found
