"""`antiphon bench load CONFIG`: how many people at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from antiphon.benchmarks.clips import load_clips
from antiphon.benchmarks.load import Heard, Load, LoadOptions, Step
from antiphon.benchmarks.own import AntiphonSubject
from antiphon.benchmarks.run import Options, spread
from antiphon.benchmarks.variants import REPLAYS_OFF, fixed_settings, without_replays
from antiphon.pipeline.cli.bench_overall import (
    Overall,
    new_table,
    notes_of,
    number,
    percent,
    print_table,
    seconds,
    until_stopped,
)
from antiphon.pipeline.cli.bench_parts import (
    ClipsOption,
    ForceOption,
    LimitOption,
    OutOption,
    WarmupOption,
    WhereOption,
    distinct_names,
    finish,
    numbers,
    option_words,
    refuse_to_overwrite,
    result_frame,
)
from antiphon.pipeline.cli.common import SetOption, explained
from antiphon.pipeline.config import load_config


@explained
def load(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a packaged one.")],
    clips: ClipsOption,
    out: OutOption,
    sessions: Annotated[
        str, typer.Option(metavar="N,N,...", help="Live sessions; each number is a step of its own.")
    ] = "1,2,4,8",
    turns: Annotated[int, typer.Option(metavar="N", help="Counted turns of each conversation.", min=1)] = 8,
    minutes: Annotated[
        float | None,
        typer.Option(metavar="M", help="Begin new conversations for M minutes in each step.", min=0.1, max=1440),
    ] = None,
    most_p95_ms: Annotated[
        float, typer.Option("--p95-limit", metavar="MS", help="A step with a slower p95 is broken.", min=1)
    ] = 1500.0,
    most_missed: Annotated[
        float,
        typer.Option("--missed-limit", metavar="SHARE", help="So is one that misses more turns.", min=0, max=1),
    ] = 0.05,
    where: WhereOption = None,
    limit: LimitOption = None,
    warmup: WarmupOption = 1,
    overrides: SetOption = None,
    force: ForceOption = False,
) -> None:
    """Measure a rising number of conversations at the same time on one set of engines, and where it breaks.

    Exit codes: 0 done, also where it broke; 1 nothing could be measured; 2 wrong usage or configuration; 3 a package
    or a model is missing; 130 stopped with Ctrl-C (the steps that were finished are written).
    """
    options = LoadOptions(
        sessions=tuple(sorted(numbers(sessions, "--sessions"))),
        turns=turns,
        minutes=minutes,
        warmup=warmup,
        most_p95_ms=most_p95_ms,
        most_missed=most_missed,
    )
    chosen = spread(load_clips(clips, where=where or ()), limit)
    (name,) = distinct_names([config])
    quiet = without_replays(load_config(config, overrides=overrides or ()))
    made = load_config(config, overrides=[*quiet, *(overrides or ())])
    refuse_to_overwrite(out, force=force)
    frame = result_frame(
        "load", [config], clips, chosen, where=where or (), overrides=overrides or (), options=Options(warmup=warmup)
    )
    more = [("--sessions", sessions), ("--turns", turns), ("--minutes", minutes)]
    words = [word for option, value in more if value is not None for word in option_words(option, [str(value)])]
    frame = replace(frame, command=" ".join([frame.command, *words]))
    console = Console(highlight=False)
    settings, notes = fixed_settings(overrides or ()), [REPLAYS_OFF] if quiet else []
    run = Load(AntiphonSubject(name, made), chosen, options, settings, notes)
    total = None if minutes else turns * sum(options.sessions)
    with Overall(console, total) as overall:

        def on_heard(heard: Heard) -> None:
            overall.tell(f"{name} x{heard.sessions}", heard.clip, "")

        stopped = until_stopped(lambda: run.run(on_heard))
    if run.steps:
        frame = replace(frame, configs=tuple(step.result for step in run.steps), load=run.block())
    finish(frame, out, console, stopped, show=lambda _, console: _show(run.steps, console, options), failing=False)


def _show(steps: Sequence[Step], console: Console, options: LoadOptions) -> None:
    shown = new_table(
        "sessions", "turns", "TTFA p50", "p95", "cut off", "missed", "failed", "WER", "loop lag p50", "p99.9", "max",
        "cores busy", "CPU s/turn", "gaps", "", left=0,
    )  # fmt: skip
    shown.columns[-1].justify = "left"
    for step in steps:
        one, lag = step.result, step.loop_lag_ms
        shown.add_row(
            str(step.sessions),
            f"{one.answered}/{one.turns}",
            number(one.ttfa_ms.p50),
            number(one.ttfa_ms.p95),
            percent(one.false_cutoff_rate),
            percent(one.missed_rate),
            str(one.failed),
            percent(one.wer),
            *("-" if lag[name] is None else f"{lag[name]:.1f}" for name in ("p50", "p999", "max")),
            seconds(step.cores_busy),
            seconds(one.cpu_s_per_turn),
            str(one.underruns),
            Text(f"broken: {step.broken}" if step.broken else "", "bold red"),
        )
    broke = next((step for step in steps if step.broken), None)
    print_table(
        shown,
        console,
        "times in ms; a turn's processor time is all that was used over all turns that were over",
        f"broken: p95 above {options.most_p95_ms:g} ms, or more than {options.most_missed:.0%} missed or failed",
        f"it breaks at {broke.sessions} sessions" if broke else "it did not break",
        *notes_of([step.result for step in steps]),
    )
