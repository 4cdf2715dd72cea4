"""`antiphon bench serve CONFIG`: what the server's fronts add, what it carries, whether it grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, cast, get_args

import typer
from rich.console import Console
from rich.text import Text

from antiphon.benchmarks.clips import Clip, load_clips
from antiphon.benchmarks.load import Load, LoadOptions
from antiphon.benchmarks.own import AntiphonSubject
from antiphon.benchmarks.records import ConfigResult
from antiphon.benchmarks.run import Entry, Options, run_turn_about, spread
from antiphon.benchmarks.server.added import MOST_ADDED_MS, Added, Front, added, lag_between, named, subject_for
from antiphon.benchmarks.server.growth import Cycles, Idle, measure_cycles, measure_idle
from antiphon.benchmarks.server.process import ServerProcess, Usage
from antiphon.benchmarks.server.stream import StreamSubject
from antiphon.benchmarks.server.way_out import Timed
from antiphon.benchmarks.subject import Subject
from antiphon.benchmarks.variants import REPLAYS_OFF, without_replays
from antiphon.pipeline.cli.bench_overall import new_table, number, percent, print_table, signed, until_stopped
from antiphon.pipeline.cli.bench_parts import (
    ClipsOption,
    ForceOption,
    LimitOption,
    OutOption,
    RunsOption,
    WarmupOption,
    WhereOption,
    distinct_names,
    finish,
    refuse_to_overwrite,
    result_frame,
)
from antiphon.pipeline.cli.bench_show import Reporter, show_table
from antiphon.pipeline.cli.common import SetOption, explained
from antiphon.pipeline.config import Config, load_config

_PLACE = ("server.max_sessions=100000", "server.max_connections=100000", "server.capacity=off", "server.stall_s=600")
"""What is measured is what the machine does, not what the server lets in."""


@explained
def serve(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a packaged one.")],
    clips: ClipsOption,
    out: OutOption,
    fronts: Annotated[
        str, typer.Option("--fronts", metavar="NAME,...", help=f"Of {', '.join(get_args(Front))}; empty: none.")
    ] = "stream,realtime,webrtc",
    sessions: Annotated[int, typer.Option(metavar="N", help="Live conversations at once; 0: none.", min=0)] = 4,
    turns: Annotated[int, typer.Option(metavar="N", help="Counted turns of each of them.", min=1)] = 8,
    idle: Annotated[int, typer.Option(metavar="N", help="Conversations in which nobody speaks.", min=0)] = 200,
    cycles: Annotated[int, typer.Option(metavar="N", help="Connections that come and go.", min=0)] = 2000,
    where: WhereOption = None,
    limit: LimitOption = None,
    runs: RunsOption = 1,
    warmup: WarmupOption = 1,
    overrides: SetOption = None,
    force: ForceOption = False,
) -> None:
    """Start a server with a configuration, and measure it from outside: by clients in this process, on its clock.

    Each clip is played to the pipeline itself and to every front in turn; the difference is what the front adds.

    Exit codes: 0 done; 1 nothing could be measured, or a turn failed; 2 wrong usage or configuration; 3 a package or a
    model is missing; 130 stopped with Ctrl-C (what was measured until then is written).
    """
    chosen_fronts = _fronts(fronts)
    chosen = spread(load_clips(clips, where=where or ()), limit)
    quiet = without_replays(load_config(config, overrides=overrides or ()))
    settings = [*quiet, *(overrides or ())]
    refuse_to_overwrite(out, force=force)
    options = Options(runs=runs, warmup=warmup)
    frame = result_frame(
        "serve", [config], clips, chosen, where=where or (), overrides=overrides or (), options=options
    )
    words = ["--fronts", fronts, "--sessions", str(sessions), "--turns", str(turns)]
    words += ["--idle", str(idle), "--cycles", str(cycles)]
    frame = replace(frame, command=" ".join([frame.command, *words]))
    console = Console(highlight=False)
    run = _Run(
        distinct_names([config])[0],
        load_config(config, overrides=settings),
        [config, *settings],
        chosen,
        chosen_fronts,
        options,
        LoadOptions(sessions=(sessions,), turns=turns, warmup=0) if sessions else None,
        idle,
        cycles,
        notes=[REPLAYS_OFF] if quiet else [],
    )
    stopped = until_stopped(lambda: run.run(console))
    frame = replace(frame, configs=tuple(run.results), serve=run.block(), load=run.load_block())
    finish(frame, out, console, stopped, show=lambda results, console: _show(run, results, console))


def _fronts(text: str) -> list[Front]:
    wanted = [name for name in text.split(",") if name]
    known: dict[str, Front] = {name: name for name in get_args(Front)}
    if unknown := [name for name in wanted if name not in known]:
        raise typer.BadParameter(f"'{unknown[0]}' is none of {', '.join(known)}", param_hint="--fronts")
    return [known[name] for name in wanted]


@dataclass(slots=True)
class _Run:
    """What is measured, and what came of it so far."""

    name: str
    config: Config
    source: list[str]
    """The configuration's file, and what is set on top of it."""
    clips: Sequence[Clip]
    fronts: list[Front]
    options: Options
    load_options: LoadOptions | None
    idle_sessions: int
    cycle_count: int
    notes: list[str]
    entries: list[Entry] = field(default_factory=list)
    timed: dict[Front, Timed] = field(default_factory=dict)
    load: Load | None = None
    lag: dict[str, float | None] = field(default_factory=dict)
    idle: Idle | None = None
    cycles: Cycles | None = None

    async def run(self, console: Console) -> None:
        """
        :raises AntiphonError: the server does not start, or engines cannot be loaded.
        """
        async with ServerProcess(self.source[0], [*self.source[1:], *_PLACE]) as server:
            own = Entry(AntiphonSubject(self.name, self.config), notes=list(self.notes))
            self.timed = {front: subject_for(front, server, self.config) for front in self.fronts}
            self.entries = [own, *(Entry(cast(Subject, timed)) for timed in self.timed.values())]
            if self.fronts:
                with Reporter(console) as reporter:
                    await run_turn_about(self.entries, self.clips, self.options, reporter.on_progress)
            if self.load_options is not None:
                _say(console, f"{self.load_options.sessions[0]} live conversations")
                before = await server.figures()
                self.load = Load(StreamSubject(self.name, server.url, (server.pid,)), self.clips, self.load_options)
                await self.load.run()
                self.lag = lag_between(before, await server.figures())
            if self.idle_sessions:
                _say(console, f"{self.idle_sessions} idle conversations")
                self.idle = await measure_idle(server, self.idle_sessions)
            if self.cycle_count:
                _say(console, f"{self.cycle_count} connections that come and go")
                self.cycles = await measure_cycles(server, self.cycle_count)

    @property
    def _turn_about(self) -> list[ConfigResult]:
        return [result for entry in self.entries for result in entry.results(self.clips)] if self.fronts else []

    @property
    def results(self) -> list[ConfigResult]:
        """Of the pipeline and each front, then of the conversations at once."""
        return [*self._turn_about, *(step.result for step in self.load.steps)] if self.load else self._turn_about

    @property
    def added(self) -> list[Added]:
        """What each front adds."""
        results = self._turn_about
        own = named(results, self.name)
        found = [(front, named(results, front)) for front in self.fronts]
        ways = {front: timed.way_out_ms for front, timed in self.timed.items()}
        return [added(front, own, over, ways[front]) for front, over in found if own is not None and over is not None]

    def load_block(self) -> dict[str, Any] | None:
        """`load` of `result.json`."""
        if self.load is None or not self.load.steps:
            return None
        first = len(self._turn_about)
        block = self.load.block()
        return {**block, "steps": [{**step, "result": step["result"] + first} for step in block["steps"]]}

    def block(self) -> dict[str, Any]:
        """`serve` of `result.json`."""
        return {
            "config": self.name,
            "added": [one.block() for one in self.added],
            "event_loop_lag": self.lag or None,
            "idle": None if self.idle is None else self.idle.block(),
            "cycles": None if self.cycles is None else self.cycles.block(),
        }


def _say(console: Console, what: str) -> None:
    console.print(Text(what, "dim"), soft_wrap=True)


def _show(run: _Run, results: Sequence[ConfigResult], console: Console) -> None:
    show_table(results, console)
    if run.added:
        _show_added(run.added, console)
    if run.load is not None and run.load.steps:
        step, lag = run.load.steps[0], run.lag
        ttfa = step.result.ttfa_ms
        line = f"{step.sessions} live: TTFA p50 {number(ttfa.p50)} ms, p95 {number(ttfa.p95)} ms; server's loop later "
        line += f"than 20 ms in {percent(lag.get('later_than_20_ms'))} of {lag.get('wake_ups') or 0:.0f} wake-ups"
        console.print(line, soft_wrap=True)
    if run.idle is not None:
        each = f"{run.idle.block()['kb_a_session']:.0f} kB each"
        line = f"{run.idle.sessions} idle: {_used(run.idle.during)}; {each}; before: {_used(run.idle.before)}"
        console.print(line, soft_wrap=True)
    if run.cycles is not None:
        grew = run.cycles.block()["grew"]
        words = ", ".join(f"{value:+g} {_UNITS[name]}" for name, value in grew.items())
        line = f"{run.cycles.cycles} connections came and went in {run.cycles.took_s:.0f} s: {words}"
        console.print(line, soft_wrap=True)


def _show_added(found: Sequence[Added], console: Console) -> None:
    shown = new_table("front", "added to TTFA", "of turns", "asked: at most", "", "way out")
    for one in found:
        pairs = 0 if one.ttfa_ms is None else one.ttfa_ms.pairs
        verdict = "" if one.holds is None else "holds" if one.holds else "does not hold"
        limit = f"{MOST_ADDED_MS[one.front]:.0f} ms"
        way_out = "-" if one.way_out_ms is None else f"{one.way_out_ms:.1f} ms"
        shown.add_row(one.front, signed(one.ttfa_ms), str(pairs), limit, verdict, way_out)
    print_table(
        shown,
        console,
        "median difference to the pipeline itself on the same clips, turn about, in ms; [..] 95 % interval",
        "way out: from the first audible sample at the server's sink to the same one at the client, in the same turn",
    )


_UNITS = {"rss_mb": "MB", "fds": "file descriptors", "threads": "threads", "tasks": "tasks"}


def _used(usage: Usage) -> str:
    return f"{usage.rss_mb:.0f} MB, {usage.fds} file descriptors, {usage.threads} threads, {usage.tasks} tasks"
