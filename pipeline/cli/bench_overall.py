"""What the longer tools of `antiphon bench` share: one bar for everything that is to be played, and tables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from antiphon.benchmarks.paired import Estimate
from antiphon.benchmarks.records import ConfigResult, Summary, TurnRecord
from antiphon.benchmarks.run import Progress as Turn
from antiphon.engines.errors import AntiphonError
from antiphon.pipeline.cli.bench_parts import Stopped
from antiphon.pipeline.cli.bench_show import told


def until_stopped(work: Callable[[], Coroutine[Any, Any, None]]) -> Stopped:
    """Run to the end; or what ended it early."""
    try:
        asyncio.run(work())
    except (AntiphonError, KeyboardInterrupt) as error:
        return error
    return None


class Overall:
    """Progress of a whole run: a bar where somebody watches, a line for each turn elsewhere. A context manager."""

    def __init__(self, console: Console, total: int | None) -> None:
        """:param total: turns; None: unknown."""
        self._console = console
        self._total = total
        self._done = 0
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        if console.is_terminal:
            self._bar = Progress(
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.description}", markup=False),
                console=console,
            )

    def __enter__(self) -> Overall:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("", total=self._total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def on_turn(self, turn: Turn) -> None:
        """A turn of a variant has been judged."""
        record = turn.record
        self.tell(turn.subject, record.clip, told(record), counts=not (isinstance(record, TurnRecord) and record.cold))

    def tell(self, who: str, clip: str, what: str, *, counts: bool = True) -> None:
        self._done += counts
        of = f"/{self._total}" if self._total is not None else ""
        if self._bar is None or self._task is None:
            count = f"{self._done}{of}" if counts else "cold"
            self._console.print(Text("  ".join(filter(None, (count, who, clip, what)))), soft_wrap=True)
        else:
            self._bar.update(self._task, completed=self._done, description="  ".join(filter(None, (who, clip, what))))


def new_table(*columns: str, left: int = 1) -> Table:
    """Columns to the right, but for the first `left`."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(columns):
        shown.add_column(name, justify="left" if number < left else "right", no_wrap=True)
    return shown


def print_table(shown: Table, console: Console, *notes: str) -> None:
    """A table that is never folded (on a narrow terminal its lines are long), and what is to be said about it."""
    wanted = console.measure(shown, options=console.options.update(width=1000)).maximum
    Console(file=console.file, width=max(wanted, console.width), force_terminal=console.is_terminal).print(shown)
    for note in notes:
        console.print(Text(note, "dim"), soft_wrap=True)


def number(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:.0f}{unit}"


def seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.1f} %"


def p50_p95(found: Summary) -> str:
    return "-" if found.p50 is None else f"{found.p50:.0f} / {found.p95:.0f}"


def signed(change: Estimate | None) -> str:
    """A difference in ms with its interval."""
    if change is None:
        return "-"
    value, *ends = (round(one) for one in (change.value, *(change.interval or ())))
    return f"{value:+d}" + (f" [{ends[0]:+d} to {ends[1]:+d}]" if ends else "")


def notes_of(results: Sequence[ConfigResult]) -> list[str]:
    """The notes of results, each once."""
    return list(dict.fromkeys(note for one in results for note in one.notes))
