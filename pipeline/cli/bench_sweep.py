"""`antiphon bench sweep CONFIG --grid KEY=VALUE,VALUE`: what each setting costs and brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console

from antiphon.benchmarks.clips import load_clips
from antiphon.benchmarks.records import ConfigResult
from antiphon.benchmarks.report.figures import pareto_front
from antiphon.benchmarks.run import Options, spread
from antiphon.benchmarks.sweep import MOST_POINTS, parse_axis, rank, sweep_block, sweep_variants
from antiphon.benchmarks.variants import Variants
from antiphon.pipeline.cli.bench_overall import (
    Overall,
    new_table,
    notes_of,
    number,
    p50_p95,
    percent,
    print_table,
    until_stopped,
)
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
    option_words,
    refuse_to_overwrite,
    result_frame,
)
from antiphon.pipeline.cli.common import SetOption, explained


@explained
def sweep(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a packaged one.")],
    grid: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=VALUE,VALUE,...",
            help="Values that a key takes, as YAML (lists in brackets). Repeated: every combination, "
            f"at most {MOST_POINTS}.",
        ),
    ],
    clips: ClipsOption,
    out: OutOption,
    where: WhereOption = None,
    limit: LimitOption = None,
    runs: RunsOption = 1,
    warmup: WarmupOption = 1,
    overrides: SetOption = None,
    force: ForceOption = False,
) -> None:
    """Measure every point of a grid over configuration keys, each clip on every point in turn.

    Choose settings on one half of a set (--where split=tune), and report them on the other (--where split=held_out).

    Exit codes: 0 done; 1 nothing could be measured, or a turn failed; 2 wrong usage, configuration or grid; 3 a package
    or a model is missing; 130 stopped with Ctrl-C (what was measured until then is written).
    """
    axes = [parse_axis(text) for text in grid]
    (name,) = distinct_names([config])
    variants = sweep_variants(name, config, axes, overrides or ())
    options = Options(runs=runs, warmup=warmup)
    chosen = spread(load_clips(clips, where=where or ()), limit)
    refuse_to_overwrite(out, force=force)
    frame = result_frame(
        "sweep", [config], clips, chosen, where=where or (), overrides=overrides or (), options=options
    )
    frame = replace(frame, command=" ".join([frame.command, *option_words("--grid", grid)]))
    console = Console(highlight=False)
    run = Variants(variants, chosen, options)
    with Overall(console, len(chosen) * runs * len(variants)) as overall:
        stopped = until_stopped(lambda: run.run(overall.on_turn))
    found = run.results()
    points = [(variants[at].settings, index) for index, (at, _) in enumerate(found)]
    frame = replace(frame, configs=tuple(one for _, one in found), sweep=sweep_block(axes, points, run.order))
    keys = [axis.key for axis in axes]
    finish(frame, out, console, stopped, show=lambda results, console: _show(keys, results, console, run.order))


def _show(keys: Sequence[str], results: Sequence[ConfigResult], console: Console, order: str) -> None:
    """One line a point, the safest first; those that no other beats are marked."""
    known = [one for one in results if one.false_cutoff_rate is not None and one.ttfa_ms.p50 is not None]
    front = pareto_front([(one.false_cutoff_rate or 0.0, one.ttfa_ms.p50 or 0.0) for one in known])
    best = {id(known[at]) for at in front}
    shown = new_table(
        "", *keys, "turns", "cut off", "missed", "TTFA p50 / p95", "commit p50", "WER", left=len(keys) + 1
    )
    for one in sorted(results, key=rank):
        shown.add_row(
            "*" if id(one) in best else "",
            *_values(keys, one.settings),
            f"{one.answered}/{one.turns}",
            percent(one.false_cutoff_rate),
            percent(one.missed_rate),
            p50_p95(one.ttfa_ms),
            number(one.commit_delay_ms.p50),
            percent(one.wer),
        )
    print_table(
        shown,
        console,
        "* no other point is both safer and faster at the median; times in ms from the last speech sample",
        f"order: {order}",
        *notes_of(results),
    )


def _values(keys: Sequence[str], settings: Mapping[str, object]) -> list[str]:
    return [str(settings.get(key, "-")) for key in keys]
