"""`antiphon bench`: how fast, how accurate, at what cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console

from antiphon.benchmarks.clips import Clip, load_clips
from antiphon.benchmarks.fresh import FreshStart
from antiphon.benchmarks.own import AntiphonSubject
from antiphon.benchmarks.run import Entry, Options, run_turn_about, spread
from antiphon.benchmarks.variants import load_without_replays
from antiphon.engines.errors import AntiphonError
from antiphon.pipeline.cli import bench_peers
from antiphon.pipeline.cli.bench_ablate import ablate
from antiphon.pipeline.cli.bench_compare import compare
from antiphon.pipeline.cli.bench_label import label
from antiphon.pipeline.cli.bench_load import load
from antiphon.pipeline.cli.bench_parts import (
    ClipsOption,
    ForceOption,
    LimitOption,
    OutOption,
    RunsOption,
    StartsOption,
    Stopped,
    WarmupOption,
    WhereOption,
    distinct_names,
    finish,
    numbers,
    refuse_to_overwrite,
    result_frame,
)
from antiphon.pipeline.cli.bench_report import report
from antiphon.pipeline.cli.bench_scenarios import scenarios
from antiphon.pipeline.cli.bench_serve import serve
from antiphon.pipeline.cli.bench_show import Reporter
from antiphon.pipeline.cli.bench_sweep import sweep
from antiphon.pipeline.cli.bench_tools import tools
from antiphon.pipeline.cli.common import SetOption, explained

app = typer.Typer(help="Measure how fast, how accurate, and at what cost.", no_args_is_help=True)


@app.callback()
def _bench() -> None:
    """Measure how fast, how accurate, and at what cost."""


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
    barge_in: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Afterwards, play N clips with speech (and all those of the folder without) into long replies.",
            min=0,
        ),
    ] = 0,
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
    options = Options(runs=runs, warmup=warmup, starts=starts, concurrency=numbers(concurrency, "--concurrency"))
    chosen = spread(load_clips(clips, where=where or ()), limit)
    settings = dict(part.split("=", 1) for part in overrides or () if "=" in part)
    entries = [
        Entry(
            AntiphonSubject(name, load_without_replays(source, overrides or ())),
            settings,
            fresh=FreshStart(name, source, tuple(overrides or ())),
        )
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
    frame = result_frame(
        "run", configs, clips, chosen, where=where or (), overrides=overrides or (), options=options, barge_in=barge_in
    )
    into_replies = spread([clip for clip in chosen if clip.has_speech], barge_in)
    if barge_in:
        into_replies += [clip for clip in load_clips(clips) if not clip.has_speech]
    frame = replace(frame, command=" ".join([frame.command, *bench_peers.peer_words(peer or (), peer_models)]))
    console = Console(highlight=False)
    stopped = measure(groups, chosen, options, console, into_replies)
    results, beside = (
        tuple(result for entry in those for result in entry.results(chosen)) for those in (entries, peers)
    )
    finish(replace(frame, configs=results, peers=beside), out, console, stopped)


def measure(
    groups: Sequence[Sequence[Entry]],
    chosen: Sequence[Clip],
    options: Options,
    console: Console,
    into_replies: Sequence[Clip],
) -> Stopped:
    """Measure groups one after the other; the subjects of one group are played to turn about.

    :returns: what ended it early (an engine that cannot be loaded, Ctrl-C), for :func:`finish`; the entries hold what
        was measured until then.
    """

    async def all_groups() -> None:
        with Reporter(console) as reporter:
            for group in groups:
                await run_turn_about(group, chosen, options, reporter.on_progress, into_replies=into_replies)

    try:
        asyncio.run(all_groups())
    except (AntiphonError, KeyboardInterrupt) as error:
        return error
    return None


app.command()(compare)
app.command()(sweep)
app.command()(load)
app.command()(ablate)
app.command()(label)
app.command()(report)
app.command()(scenarios)
app.command()(serve)
app.command()(tools)
app.add_typer(bench_peers.app, name="peers")
