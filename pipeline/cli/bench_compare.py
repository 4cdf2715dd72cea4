"""`antiphon bench compare A B`: is B worse?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from antiphon.benchmarks.compare import METRICS, Comparison, Rate, differences, load_result
from antiphon.benchmarks.compare import compare as compared
from antiphon.benchmarks.paired import LEAST_CLIPS, SIGNIFICANT, Estimate, TurnKey
from antiphon.benchmarks.records import BenchResult
from antiphon.engines.errors import AntiphonError
from antiphon.pipeline.cli.bench_overall import new_table, print_table
from antiphon.pipeline.cli.common import EXIT_CONFIG, EXIT_FAILED, explained

_NAMED = 5
"""So many turns without a partner are named; the others are counted."""


@explained
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A result.json, or the folder that it lies in: before.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The same: after.")],
    metric: Annotated[str, typer.Option(help=f"What the ratio is of: {', '.join(METRICS)}.")] = METRICS[0],
    config: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only this configuration (or peer). Default: all that are in both."),
    ] = None,
    threshold: Annotated[float, typer.Option(metavar="RATIO", help="B may be so many times A; more is worse.")] = 1.10,
) -> None:
    """Compare two results turn by turn: the same configuration, the same clip, the same run.

    B is worse if even the lower end of the 95 % interval of the ratio is above the threshold; if it cut off, or missed
    and failed, or answered noise, on significantly more clips (sign test, 5 %); or if the whole interval of the
    difference in word errors is above zero.

    Exit codes: 0 B is not worse; 1 it is; 2 wrong usage, or the results cannot be compared.
    """
    if metric not in METRICS:
        raise typer.BadParameter(f"'{metric}' is none of {', '.join(METRICS)}", param_hint="--metric")
    if not (math.isfinite(threshold) and threshold > 0):
        raise typer.BadParameter(f"{threshold:g} is no ratio above 0", param_hint="--threshold")
    console = Console(highlight=False)
    try:
        before, said_a = load_result(a)
        after, said_b = load_result(b)
        found, alone = compared(before, after, metric=metric, config=config)
    except AntiphonError as error:
        typer.echo(f"error: {error.message}", err=True)
        for line in error.hint.splitlines():
            typer.echo(f"  {line}", err=True)
        raise typer.Exit(EXIT_CONFIG) from None
    for name, path, result in (("A", a, before), ("B", b, after)):
        console.print(f"{name}  {path}  {_about(result)}", soft_wrap=True, markup=False)
    for warning in [*said_a, *said_b, *differences(before, after)]:
        console.print(Text(f"warning: {warning}", "yellow"), soft_wrap=True)
    _show(found, console)
    for line in filter(None, (one.settings for one in found)):
        console.print(Text(f"settings differ: {line}"), soft_wrap=True)
    for line in [*(f"not compared: {name}" for name in alone), *_unpaired(found)]:
        console.print(Text(line, "yellow"), soft_wrap=True)
    worse = [f"{one.label}: {why}" for one in found for why in one.worse(threshold)]
    for line in worse:
        console.print(Text(f"worse: {line}", "bold red"), soft_wrap=True)
    if undecided := [one.label for one in found if one.undecided]:
        console.print(
            Text(
                f"too few clips with {metric} in both to tell (at least {LEAST_CLIPS}): {', '.join(undecided)}",
                "yellow",
            ),
            soft_wrap=True,
        )
    if worse:
        raise typer.Exit(EXIT_FAILED)
    console.print(Text(f"not worse (threshold {threshold:g})", "green"))


def _about(result: BenchResult) -> str:
    cores, processor = result.machine.get("cores"), result.machine.get("processor")
    where = f"{cores:g} cores of {processor}" if cores and processor else ""
    return "  ".join(filter(None, (result.created, result.commit[:12], where)))


def _show(found: Sequence[Comparison], console: Console) -> None:
    metric = found[0].metric
    shown = new_table(
        "", "turns", f"{metric} A", "B", "B over A", "commit", "compute", "CPU s", "cut off", "missed", "false starts",
        "WER",
    )  # fmt: skip
    digits = 2 if metric == "cpu_s" else 0
    for one in found:
        shown.add_row(
            one.label,
            str(one.pairs),
            *("-" if value is None else f"{value:.{digits}f}" for value in (one.a, one.b)),
            _ratio(one.ratio),
            _change(one.commit_delay_ms),
            _change(one.compute_after_commit_ms),
            _change(one.cpu_s, digits=2),
            *(_rate(rate) for rate in (one.cutoffs, one.misses, one.false_starts)),
            _change(one.wer, scale=100, digits=1, unit=" points"),
        )
    print_table(
        shown,
        console,
        "medians over the turns that both answered; differences are B less A, in ms, pair by pair; [..] 95 % interval",
        f"p: probability that so many more clips were hit by chance; below {SIGNIFICANT:g} counts as worse",
    )


def _ratio(found: Estimate | None) -> str:
    if found is None:
        return "-"
    return f"{found.value:.2f}" + ("" if found.interval is None else " [{:.2f}-{:.2f}]".format(*found.interval))


def _change(found: Estimate | None, *, scale: float = 1.0, digits: int = 0, unit: str = "") -> str:
    if found is None:
        return "-"

    def shown(value: float) -> str:
        return f"{round(scale * value, digits) + 0.0:+.{digits}f}"  # no negative zero

    bounds = "" if found.interval is None else f" [{shown(found.interval[0])} to {shown(found.interval[1])}]"
    return f"{shown(found.value)}{unit}{bounds}"


def _rate(rate: Rate) -> str:
    if not rate.turns:
        return "-"
    chance = f" p {rate.chance:.2f}" if rate.b > rate.a else ""
    return f"{rate.a} -> {rate.b} of {rate.turns}{chance}"


def _unpaired(found: Sequence[Comparison]) -> list[str]:
    lines = []
    for one in found:
        for name, keys in (("A", one.only_a), ("B", one.only_b)):
            if keys:
                more = f", and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
                shown = ", ".join(_named(key) for key in keys[:_NAMED])
                lines.append(f"{one.label}: {len(keys)} turns only in {name}: {shown}{more}")
    return lines


def _named(key: TurnKey) -> str:
    clip, run, again = key
    return f"{clip} run {run + 1}" + (f" ({again + 1})" if again else "")
