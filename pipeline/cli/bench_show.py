"""What `antiphon bench` shows: progress while it measures, a table at the end."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from antiphon.benchmarks.records import BargeInRecord, ConfigResult, Summary, TurnRecord
from antiphon.benchmarks.run import Progress as Step

_STYLES = {
    "answered": "green",
    "quiet": "green",
    "cutoff": "red",
    "missed": "yellow",
    "false_start": "red",
    "failed": "bold red",
}


class Reporter:
    """A bar for each subject where somebody watches; a line for each turn elsewhere. A context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[tuple[str, int], TaskID] = {}
        self._bars: Progress | None = None
        if console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[last]}"),
                console=console,
                auto_refresh=False,  # no thread of its own: it would take time from what is measured
            )

    def __enter__(self) -> Reporter:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def on_progress(self, step: Step) -> None:
        record = step.record
        cold = isinstance(record, TurnRecord) and record.cold
        name = step.subject + (f" x{step.concurrency}" if step.concurrency > 1 else "")
        if isinstance(record, BargeInRecord):
            name += " barge-in"
        if self._bars is None:
            count = "cold" if cold else f"{step.done}/{step.total}"
            self._console.print(Text(f"{name}  {count}  {record.clip}  {told(record)}"), soft_wrap=True)
            return
        key = (name, step.concurrency)
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(name, total=step.total, last="")
        last = f"[{_style(record)}]{escape(told(record))}[/]"
        if cold:
            self._bars.update(self._tasks[key], last=f"cold: {last}")
        else:
            self._bars.update(self._tasks[key], total=step.total, completed=step.done, last=last)
        self._bars.refresh()


def _style(record: TurnRecord | BargeInRecord) -> str:
    if isinstance(record, BargeInRecord):
        return "green" if record.right else "red"
    return _STYLES[record.outcome]


def told(record: TurnRecord | BargeInRecord) -> str:
    """What a clip came to, in words."""
    if isinstance(record, BargeInRecord):
        if record.why:
            return record.why
        if record.stop_ms is not None:
            return f"{record.stop_ms:.0f} ms" + ("" if record.right else ": noise ended the reply")
        return "went on" + ("" if record.right else ": speech did not stop the reply")
    if record.ttfa_ms is not None:
        return f"{record.ttfa_ms:.0f} ms"
    return record.outcome.replace("_", " ") + (f": {record.why}" if record.why else "")


def show_table(results: Sequence[ConfigResult], console: Console) -> None:
    """One line a configuration. It is never folded: on a narrow terminal the lines are long."""
    shown = table(results)
    wanted = console.measure(shown, options=console.options.update(width=1000)).maximum
    wide = Console(file=console.file, width=max(wanted, console.width), force_terminal=console.is_terminal)
    wide.print(shown)
    console.print(Text(_CAPTION, "dim"), soft_wrap=True)
    for one in results:
        for note in one.notes:
            console.print(Text(f"{_name(one)}: {note}", "dim"), soft_wrap=True)


def table(results: Sequence[ConfigResult]) -> Table:
    """The columns that must be read together."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("", no_wrap=True)
    for name in ("turns", "TTFA p50", "p95", "cold", "commit p50", "p95", "compute p50", "p95", "cut off", "missed",
                 "false starts", "barge-in p50", "p95", "false", "WER", "spec. hits", "CPU s/turn", "RSS MB",
                 "gaps"):  # fmt: skip
        shown.add_column(name, justify="right")
    for one in results:
        shown.add_row(
            _name(one),
            f"{one.answered}/{one.turns}",
            _interval(one.ttfa_ms, "p50"),
            _interval(one.ttfa_ms, "p95"),
            _number(one.ttfa_cold_ms.p50),
            _number(one.commit_delay_ms.p50),
            _number(one.commit_delay_ms.p95),
            _number(one.compute_after_commit_ms.p50),
            _number(one.compute_after_commit_ms.p95),
            _percent(one.false_cutoff_rate),
            _percent(one.missed_rate),
            f"{round((one.false_start_rate or 0) * one.noise_clips)}/{one.noise_clips}" if one.noise_clips else "-",
            _number(one.barge_in_stop_ms.p50 if one.barge_in_stop_ms else None),
            _number(one.barge_in_stop_ms.p95 if one.barge_in_stop_ms else None),
            _percent(one.false_interruption_rate),
            _percent(one.wer),
            _percent(one.speculation_hit_rate),
            "-" if one.cpu_s_per_turn is None else f"{one.cpu_s_per_turn:.2f}",
            _number(one.peak_rss_mb),
            str(one.underruns),
        )
    return shown


_CAPTION = (
    "times in ms from the last speech sample; [..] 95 % interval; cut off and missed: share of turns; "
    "barge-in: from the first speech sample into a reply to silence; false: share of noises that ended a reply"
)


def _name(one: ConfigResult) -> str:
    return one.config + (f" x{one.concurrency}" if one.concurrency > 1 else "")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.1f} %"


def _interval(found: Summary, name: str) -> str:
    value = getattr(found, name)
    interval = getattr(found, f"{name}_interval")
    if value is None or interval is None:
        return _number(value)
    return f"{value:.0f} [{interval[0]:.0f}-{interval[1]:.0f}]"
