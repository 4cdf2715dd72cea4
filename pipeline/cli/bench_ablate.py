"""`antiphon bench ablate CONFIG`: what each lever for latency is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from antiphon.benchmarks.ablate import ALL_ON, LEVERS, Plan, ablation_block, choose, effect, plan
from antiphon.benchmarks.clips import load_clips
from antiphon.benchmarks.records import ConfigResult
from antiphon.benchmarks.run import Options, spread
from antiphon.benchmarks.variants import Variants
from antiphon.pipeline.cli.bench_overall import (
    Overall,
    new_table,
    notes_of,
    p50_p95,
    percent,
    print_table,
    seconds,
    signed,
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
def ablate(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a packaged one.")],
    clips: ClipsOption,
    out: OutOption,
    levers: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME,...", help=f"Only these: {', '.join(lever.name for lever in LEVERS)}."),
    ] = None,
    where: WhereOption = None,
    limit: LimitOption = None,
    runs: RunsOption = 1,
    warmup: WarmupOption = 1,
    overrides: SetOption = None,
    force: ForceOption = False,
) -> None:
    """Measure a configuration with all its levers on, and with each of them off in turn, clip by clip.

    Exit codes: 0 done; 1 nothing could be measured, or a turn failed; 2 wrong usage or configuration; 3 a package or a
    model is missing; 130 stopped with Ctrl-C (what was measured until then is written).
    """
    chosen_levers = choose([part.strip() for part in levers.split(",")] if levers else [])
    (name,) = distinct_names([config])
    made = plan(name, config, chosen_levers, overrides or ())
    options = Options(runs=runs, warmup=warmup)
    chosen = spread(load_clips(clips, where=where or ()), limit)
    refuse_to_overwrite(out, force=force)
    frame = result_frame(
        "ablate", [config], clips, chosen, where=where or (), overrides=overrides or (), options=options
    )
    frame = replace(frame, command=" ".join([frame.command, *option_words("--levers", [levers] if levers else [])]))
    console = Console(highlight=False)
    for lever, why in made.left_out:
        console.print(Text(f"left out: {lever}: {why}", "yellow"), soft_wrap=True)
    run = Variants(made.variants, chosen, options, grouping="all or one")
    with Overall(console, len(chosen) * runs * len(made.variants)) as overall:
        stopped = until_stopped(lambda: run.run(overall.on_turn))
    found = {at: (index, one) for index, (at, one) in enumerate(run.results())}
    frame = replace(
        frame,
        configs=tuple(one for _, one in found.values()),
        ablation=ablation_block(name, made, found, run.order),
    )
    finish(frame, out, console, stopped, show=lambda _, console: _show(made, found, console, run.order))


def _show(made: Plan, found: Mapping[int, tuple[int, ConfigResult]], console: Console, order: str) -> None:
    """One line for all on, and one without each lever."""
    shown = new_table(
        "", "turns", "TTFA p50 / p95", "later: median", "mean", "compute p50 / p95", "CPU s/turn", "spec. hits", "WER",
        "cut off", "missed", "verdict",
    )  # fmt: skip
    shown.columns[-1].justify = "left"
    base = found[0][1] if 0 in found else None
    for at, (_, one) in sorted(found.items()):
        lost = effect(base, one) if base is not None and at else None
        shown.add_row(
            f"without {made.levers[at - 1].name}" if at else ALL_ON,
            f"{one.answered}/{one.turns}",
            p50_p95(one.ttfa_ms),
            *(("", "") if lost is None else (signed(lost.median), signed(lost.mean))),
            p50_p95(one.compute_after_commit_ms),
            seconds(one.cpu_s_per_turn),
            percent(one.speculation_hit_rate),
            percent(one.wer),
            percent(one.false_cutoff_rate),
            percent(one.missed_rate),
            lost.verdict if lost is not None else "",
        )
    print_table(
        shown,
        console,
        "times in ms; later: TTFA without the lever less TTFA with it, over the turns that both answered, in pairs, "
        "with 95 % intervals; the mean shows what helps only the slow turns",
        f"order: {order}",
        *notes_of([one for _, one in found.values()]),
    )
