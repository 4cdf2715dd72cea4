"""A benchmark run: subjects, clips, repetitions, turn about, and the results of each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from antiphon.benchmarks.barge_in import barge_in
from antiphon.benchmarks.clips import Clip
from antiphon.benchmarks.drive import Observation, Patience, play_clips
from antiphon.benchmarks.feed import Track
from antiphon.benchmarks.judge import judge
from antiphon.benchmarks.meter import Meter
from antiphon.benchmarks.metrics import summarise
from antiphon.benchmarks.own import AntiphonSubject
from antiphon.benchmarks.records import BargeInRecord, ConfigResult, TurnRecord
from antiphon.benchmarks.subject import Subject
from antiphon.benchmarks.words import prepare
from antiphon.engines.testing import run_virtual
from antiphon.pipeline.config import Config

LATE_S = 0.1
"""Input that comes later than this is told."""
USED_MB = 300.0
"""More memory than Python and its libraries take: engines were here before."""


@dataclass(frozen=True, slots=True)
class Options:
    """How clips are played."""

    runs: int = 1
    """Every clip is played so often."""
    warmup: int = 1
    """Turns played first, which do not count; the very first is the cold one. With 0 the first clip is cold."""
    starts: int = 1
    """How often a subject is started and loaded: each start gives one cold turn, on a clip of its own. Those after the
    first are in processes of their own, where the subject can be started in one (:attr:`Entry.fresh`)."""
    concurrency: tuple[int, ...] = (1,)
    """Numbers of sessions at the same time; each gives a result of its own."""
    stagger_s: float = 0.7
    """Between the starts of sessions that run at the same time."""
    patience: Patience = field(default_factory=Patience)
    costs: bool = True
    """Measure processor time and memory. They never repeat exactly: a deterministic run goes without."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One clip has been judged, as a turn or as a word into a reply."""

    subject: str
    concurrency: int
    done: int
    total: int
    record: TurnRecord | BargeInRecord


OnProgress = Callable[[Progress], None]


StartAfresh = Callable[[Sequence[Clip], Patience], Awaitable[TurnRecord]]
"""Starts a subject in a new process; what its first turn, on the last of the clips, was like."""


@dataclass(slots=True)
class Entry:
    """A subject and what has been measured of it so far."""

    subject: Subject
    settings: dict[str, Any] = field(default_factory=dict)
    fresh: StartAfresh | None = None
    """None: it is entered again, which starts peers' processes anew."""
    records: dict[int, list[TurnRecord]] = field(default_factory=dict)
    """By concurrency."""
    cold: list[TurnRecord] = field(default_factory=list)
    ready_s: float | None = None
    meter: Meter | None = None
    cpu_s: dict[int, float] = field(default_factory=dict)
    """Of all turns together, by concurrency."""
    notes: list[str] = field(default_factory=list)
    late_s: float = 0.0
    barge_ins: list[BargeInRecord] = field(default_factory=list)

    def results(self, clips: Sequence[Clip]) -> list[ConfigResult]:
        """One for each concurrency that has turns; the cold turns and the barge-ins are with the lowest."""
        notes = list(self.notes)
        if self.late_s > LATE_S:
            notes.append(f"input came up to {self.late_s * 1000:.0f} ms late: the machine was busy")
        return [
            summarise(
                self.subject.name,
                [*(self.cold if number == min(self.records) else ()), *records],
                settings=self.settings,
                concurrency=number,
                cpu_s=self.cpu_s.get(number),
                peak_rss_mb=self.meter.peak_rss_mb if self.meter else None,
                ready_s=self.ready_s,
                one_breath=[clip.name for clip in clips if clip.has_speech and not clip.pauses_ms],
                notes=notes,
                barge_ins=self.barge_ins if number == min(self.records) else (),
            )
            for number, records in sorted(self.records.items())
            if records or self.cold
        ]


async def run_configs(
    specs: Sequence[tuple[str, Config, dict[str, Any]]],
    clips: Sequence[Clip],
    options: Options | None = None,
    on_progress: OnProgress | None = None,
) -> list[ConfigResult]:
    """Antiphon on several configurations, one after the other: each has the machine and its memory for itself.

    :param specs: name, configuration, and what was set on top of it.
    """
    results: list[ConfigResult] = []
    for name, config, settings in specs:
        entry = Entry(AntiphonSubject(name, config), settings)
        await run_turn_about([entry], clips, options, on_progress)
        results.extend(entry.results(clips))
    return results


def run_deterministic(
    specs: Sequence[tuple[str, Config, dict[str, Any]]], clips: Sequence[Clip], options: Options | None = None
) -> list[ConfigResult]:
    """:func:`run_configs` on a virtual clock, for configurations of scripted engines: the same records every time.

    It takes no real time. What engines really do in threads would be waited for, and counted as no time.
    """
    return run_virtual(run_configs(specs, clips, replace(options or Options(), costs=False)))


async def run_turn_about(
    entries: Sequence[Entry],
    clips: Sequence[Clip],
    options: Options | None = None,
    on_progress: OnProgress | None = None,
    *,
    into_replies: Sequence[Clip] = (),
) -> None:
    """Play each clip to every subject in turn before the next clip; what was measured stands in the entries.

    So whatever else goes on in the machine meets all of them alike. If it is cancelled, the entries hold what was
    measured until then.

    :param into_replies: clips that are played into long replies afterwards, to subjects that can be asked for one.
    """
    options = options or Options()
    prepare(clip.lang for clip in clips if clip.transcript)
    groups = [[Track.of(clip) for clip in group] for group in dialogues(clips)]
    spoken = [track for group in groups for track in group if track.clip.has_speech]
    async with AsyncExitStack() as stack:
        for entry in entries:
            await _load(entry, options, stack)
        for entry in entries if options.costs else ():
            await _meter(entry, entries, stack)
        for entry in entries:
            await _warm_up(entry, spoken, options, on_progress)
        for number in options.concurrency:
            for entry in entries:
                entry.records.setdefault(number, [])
            if number == 1:
                await _one_by_one(entries, groups, options, on_progress)
            else:
                for entry in entries:
                    await _side_by_side(entry, groups, number, options, on_progress)
        await _into_replies(entries, into_replies, on_progress)
    for number in range(1, options.starts if spoken else 0):
        track = spoken[-1 - number % len(spoken)]
        async with AsyncExitStack() as stack:
            for entry in entries:
                if entry.fresh is not None:
                    _keep_cold(entry, await entry.fresh([track.clip], options.patience), options, on_progress)
                else:
                    await stack.enter_async_context(entry.subject)
                    await _cold_turn(entry, track, options, on_progress)


def dialogues(clips: Sequence[Clip]) -> list[list[Clip]]:
    """Clips that make up one conversation, in the order of the index; others are alone."""
    groups: dict[str, list[Clip]] = {}
    for number, clip in enumerate(clips):
        groups.setdefault(clip.dialogue or f"\0{number}", []).append(clip)
    return list(groups.values())


def spread(clips: Sequence[Clip], limit: int | None) -> list[Clip]:
    """At most `limit` clips, evenly over the whole list (sets are sorted by source); dialogues stay whole.

    A first dialogue that is longer than the limit is kept all the same.
    """
    groups = dialogues(clips)
    if limit is None or len(clips) <= limit:
        return list(clips)
    count = min(limit, len(groups))
    while True:
        places = [round(n * (len(groups) - 1) / max(1, count - 1)) for n in range(count)]
        chosen = [clip for place in places for clip in groups[place]]
        if len(chosen) <= limit or count == 1:
            return chosen
        count -= 1


# ------------------------------------------------------------------------------------------- inside


async def _load(entry: Entry, options: Options, stack: AsyncExitStack) -> None:
    loop = asyncio.get_running_loop()
    if options.costs:
        before = Meter()
        before.look()
        if entry.subject.pids is None and before.peak_rss_mb > USED_MB:
            entry.notes.append(
                f"{before.peak_rss_mb:.0f} MB were in use in this process before its engines were loaded"
            )
    began_s = loop.time()
    await stack.enter_async_context(entry.subject)
    entry.ready_s = loop.time() - began_s


async def _meter(entry: Entry, entries: Sequence[Entry], stack: AsyncExitStack) -> None:
    """Follow what a subject costs, the processes of the others left out; nothing, if nobody knows its processes."""
    pids = entry.subject.pids
    if pids is None or pids:
        others = [pid for other in entries if other is not entry for pid in other.subject.pids or ()]
        entry.meter = await stack.enter_async_context(Meter(pids, without=others))


async def _warm_up(entry: Entry, spoken: Sequence[Track], options: Options, on_progress: OnProgress | None) -> None:
    """The first turn after loading is measured apart, as the cold one; the other warm-up turns are forgotten.

    From the last clip backward: the clip that is measured first must not find its own prompt in a cache.
    """
    for number in range(options.warmup if spoken else 0):
        track = spoken[-1 - number % len(spoken)]
        if number == 0:
            await _cold_turn(entry, track, options, on_progress, entry.meter)
        else:
            await play_clips(entry.subject, [track], options.patience)


async def _cold_turn(
    entry: Entry, track: Track, options: Options, on_progress: OnProgress | None, meter: Meter | None = None
) -> None:
    for seen in await play_clips(entry.subject, [track], options.patience, meter):
        _keep_cold(entry, judge(seen, run=0, cold=True), options, on_progress)


def _keep_cold(entry: Entry, record: TurnRecord, options: Options, on_progress: OnProgress | None) -> None:
    entry.cold.append(record)
    if on_progress:
        on_progress(Progress(entry.subject.name, 1, len(entry.cold), options.starts, record))


async def _into_replies(entries: Sequence[Entry], clips: Sequence[Clip], on_progress: OnProgress | None) -> None:
    for clip in clips:
        for entry in entries:
            if isinstance(entry.subject, AntiphonSubject) and not entry.subject.finished_recording:
                record = await barge_in(entry.subject.assembly, clip)
                entry.barge_ins.append(record)
                if on_progress:
                    on_progress(Progress(entry.subject.name, 1, len(entry.barge_ins), len(clips), record))


async def _one_by_one(
    entries: Sequence[Entry], groups: Sequence[Sequence[Track]], options: Options, on_progress: OnProgress | None
) -> None:
    total = options.runs * sum(map(len, groups))
    for run in range(options.runs):
        for group in groups:
            for entry in entries:
                for seen in await play_clips(entry.subject, group, options.patience, entry.meter):
                    _keep(entry, 1, seen, run, total, on_progress)


async def _side_by_side(
    entry: Entry, groups: Sequence[Sequence[Track]], number: int, options: Options, on_progress: OnProgress | None
) -> None:
    """`number` sessions on the same engines; each takes the next clip when it is through with one."""
    waiting = [(run, group) for run in range(options.runs) for group in groups]
    total = options.runs * sum(map(len, groups))
    meter = entry.meter
    patience = replace(options.patience, listen_s=options.patience.reply_s)  # in a hurry one would disturb the others
    before_s = meter.cpu_s() if meter else 0.0

    async def lane(place: int) -> None:
        await asyncio.sleep(place * options.stagger_s)
        while waiting:
            run, group = waiting.pop(0)
            for seen in await play_clips(entry.subject, group, patience):
                _keep(entry, number, seen, run, total, on_progress)

    async with asyncio.TaskGroup() as lanes:
        for place in range(number):
            lanes.create_task(lane(place))
    if meter:
        entry.cpu_s[number] = meter.cpu_s() - before_s


def _keep(entry: Entry, number: int, seen: Observation, run: int, total: int, on_progress: OnProgress | None) -> None:
    entry.late_s = max(entry.late_s, seen.late_s)
    cold = not entry.cold and seen.track.clip.has_speech
    record = judge(seen, run=run, cold=cold, concurrency=number)
    if cold:
        entry.cold.append(record)
    else:
        entry.records[number].append(record)
    if on_progress:
        on_progress(Progress(entry.subject.name, number, len(entry.records[number]), total, record))
