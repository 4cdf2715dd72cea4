"""`antiphon bench`: how fast, how accurate, at what cost."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from antiphon.benchmarks import machine
from antiphon.benchmarks.clips import Clip, load_clips
from antiphon.benchmarks.own import AntiphonSubject
from antiphon.benchmarks.records import BenchResult, ConfigResult
from antiphon.benchmarks.report import write_report
from antiphon.benchmarks.result import REPORT, RESULT, ResultError, now, to_dict, write_result
from antiphon.benchmarks.run import Entry, Options, run_turn_about, spread
from antiphon.engines.errors import AntiphonError
from antiphon.pipeline.cli import bench_peers
from antiphon.pipeline.cli.bench_label import label
from antiphon.pipeline.cli.bench_report import report
from antiphon.pipeline.cli.bench_scenarios import scenarios
from antiphon.pipeline.cli.bench_show import Reporter, show_table
from antiphon.pipeline.cli.common import EXIT_FAILED, SetOption, explained
from antiphon.pipeline.config import load_config

app = typer.Typer(help="Measure how fast, how accurate, and at what cost.", no_args_is_help=True)


@app.callback()
def _bench() -> None:
    """Measure how fast, how accurate, and at what cost."""


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
    typer.Option("--starts", metavar="N", help="How often the engines are loaded; each load gives a cold turn.", min=1),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite the result of another run.")]


@app.command()
@explained
def run(
    configs: Annotated[list[str], typer.Argument(metavar="CONFIG...", help="YAML files, or names of packaged ones.")],
    clips: ClipsOption,
    out: OutOption,
    where: WhereOption = None,
    limit: LimitOption = None,
    runs: RunsOption = 1,
    warmup: WarmupOption = 1,
    starts: StartsOption = 1,
    concurrency: Annotated[
        str, typer.Option(metavar="N,N,...", help="Sessions at the same time; each number is measured by itself.")
    ] = "1",
    overrides: SetOption = None,
    peer: bench_peers.PeerOption = None,
    peer_models: bench_peers.PeerModelsOption = None,
    peers_folder: bench_peers.PeersFolderOption = None,
    allow_network: bench_peers.AllowNetworkOption = False,
    force: ForceOption = False,
) -> None:
    """Play clips to configurations in real time, and measure the answers.

    Peers (`--peer`) are played to turn about with the first configuration, on the same models.

    Exit codes: 0 done; 1 nothing could be measured, or a turn failed; 2 wrong usage or configuration; 3 a package or a
    model is missing; 130 stopped with Ctrl-C (what was measured until then is written).
    """
    options = Options(runs=runs, warmup=warmup, starts=starts, concurrency=_numbers(concurrency))
    chosen = spread(load_clips(clips, where=where or ()), limit)
    settings = dict(part.split("=", 1) for part in overrides or () if "=" in part)
    entries = [
        Entry(AntiphonSubject(name, load_config(source, overrides=overrides or ())), settings)
        for source, name in zip(configs, distinct_names(configs), strict=True)
    ]
    peers: list[Entry] = []
    groups = [[entry] for entry in entries]
    if peer:
        models = peer_models or configs[0]
        more, peers = bench_peers.add_peers(
            entries[0], peer, models, overrides or (), peers_folder, options, allow_network=allow_network
        )
        groups[0] += more + peers
        entries += more
    refuse_to_overwrite(out, force=force)
    frame = result_frame("run", configs, clips, chosen, where=where or (), overrides=overrides or (), options=options)
    frame = replace(frame, command=" ".join([frame.command, *bench_peers.peer_words(peer or (), peer_models)]))
    console = Console(highlight=False)
    stopped = measure(groups, chosen, options, console)
    results, beside = (
        tuple(result for entry in those for result in entry.results(chosen)) for those in (entries, peers)
    )
    finish(replace(frame, configs=results, peers=beside), out, console, stopped)


def measure(
    groups: Sequence[Sequence[Entry]], chosen: Sequence[Clip], options: Options, console: Console
) -> AntiphonError | KeyboardInterrupt | None:
    """Measure groups one after the other; the subjects of one group are played to turn about.

    :returns: what ended it early (an engine that cannot be loaded, Ctrl-C), for :func:`finish`; the entries hold what
        was measured until then.
    """

    async def all_groups() -> None:
        with Reporter(console) as reporter:
            for group in groups:
                await run_turn_about(group, chosen, options, reporter.on_progress)

    try:
        asyncio.run(all_groups())
    except (AntiphonError, KeyboardInterrupt) as error:
        return error
    return None


def result_frame(
    command: str,
    configs: Sequence[str],
    clips: Path,
    chosen: Sequence[Clip],
    *,
    where: Sequence[str] = (),
    overrides: Sequence[str] = (),
    options: Options | None = None,
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


def refuse_to_overwrite(out: Path, *, force: bool) -> None:
    """:raises ResultError: there is another run's result."""
    if not force and (out / RESULT).exists():
        raise ResultError(
            f"{out / RESULT} is the result of another run", hint="another --out, or --force to overwrite it"
        )


def finish(
    result: BenchResult, out: Path, console: Console, stopped: AntiphonError | KeyboardInterrupt | None = None
) -> None:
    """Write the files, show the table, and leave with the right code.

    :param stopped: what ended the run early: what was measured is written, marked as incomplete, and then this is
        raised.
    :raises typer.Exit: turns failed.
    """
    measured: list[ConfigResult] = [*result.configs, *result.peers]
    if any(one.turn_records for one in measured):
        result = replace(result, complete=stopped is None)
        path = write_result(result, out)
        show_table(measured, console)
        console.print(Text(f"wrote {path}", "dim"), soft_wrap=True)
        write_report(to_dict(result), out / REPORT)
        console.print(Text(f"wrote {out / REPORT}", "dim"), soft_wrap=True)
        if stopped is not None:
            console.print(Text("stopped before its end: the result says so", "yellow"))
    if stopped is not None:
        raise stopped
    if any(one.failed for one in measured):
        raise typer.Exit(EXIT_FAILED)


def distinct_names(configs: Sequence[str]) -> list[str]:
    """What configurations are called in results: their file names, numbered where two are the same."""
    names: list[str] = []
    for source in configs:
        name = Path(source).name if source.lower().endswith((".yaml", ".yml")) else f"{source}.yaml"
        count = sum(other == name or other.startswith(f"{name} (") for other in names)
        names.append(f"{name} ({count + 1})" if count else name)
    return names


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        numbers = (0,)
    if min(numbers) < 1:
        raise typer.BadParameter(f"'{text}' is no list of numbers such as 1,2,4", param_hint="--concurrency")
    return numbers


app.command()(label)
app.command()(report)
app.command()(scenarios)
app.add_typer(bench_peers.app, name="peers")
