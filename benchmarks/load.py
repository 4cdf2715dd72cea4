"""Many people at once on one set of engines: how late answers come, and from how many on it breaks.

A session is a conversation: it hears one clip after another, each when the reply to the one before has been heard in
full, and its history grows. The sessions of a step begin one after another within :data:`STAGGER_S`. A session's first
turn is played and not counted, for not everybody speaks yet; a session that is through with its turns goes on until
all are, so that everybody's turns are measured beside everybody else.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from antiphon.benchmarks.clips import Clip
from antiphon.benchmarks.drive import Observation, Patience, play_clips
from antiphon.benchmarks.feed import Track
from antiphon.benchmarks.judge import judge
from antiphon.benchmarks.meter import Meter
from antiphon.benchmarks.metrics import summarise
from antiphon.benchmarks.records import ConfigResult, TurnRecord
from antiphon.benchmarks.sink import Piece, first_audible
from antiphon.benchmarks.subject import Subject
from antiphon.benchmarks.ticker import Ticker
from antiphon.engines.protocols import usable_cores

STAGGER_S = 4.0
"""About a turn: the sessions of a step begin evenly within it."""
LATE_S = 0.1
_JUDGED_S = 1.0
"""From the first audible sample on: so much of a reply is kept for judging."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How the load rises, and what it may do."""

    sessions: tuple[int, ...] = (1, 2, 4, 8)
    """Each number is a step of its own."""
    turns: int = 8
    """Counted turns of a conversation."""
    minutes: float | None = None
    """New conversations are begun for this long in each step; None: one in each session."""
    warmup: int = 1
    """Turns before the first step, which do not count; the very first is the cold one."""
    most_p95_ms: float = 1500.0
    """A step with a slower p95 is broken."""
    most_missed: float = 0.05
    """So is one that answers less than all but this share of its turns (0 to 1); any load misses what was not heard."""
    patience: Patience = field(default_factory=Patience)
    costs: bool = True


@dataclass(frozen=True, slots=True)
class Heard:
    """Progress: one more turn of a step is over."""

    sessions: int
    done: int
    total: int | None
    """None: as many as the time allows."""
    clip: str


@dataclass(slots=True)
class Step:
    """What was measured at one number of sessions."""

    sessions: int
    result: ConfigResult
    loop_lag_ms: dict[str, float | int | None]
    wall_s: float
    cores_busy: float | None
    """Processor time over time: how many cores were at work on average."""
    broken: str = ""
    """Why; empty: it held."""


class Load:
    """A load test of one subject. :meth:`run` measures; :attr:`steps` has the steps that were finished."""

    def __init__(
        self,
        subject: Subject,
        clips: Sequence[Clip],
        options: LoadOptions,
        settings: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """:param settings: what was set on top of the configuration, for the results; `notes`: also for them."""
        self.steps: list[Step] = []
        self._subject = subject
        self._clips = clips
        self._options = options
        self._settings = dict(settings or {})
        self._notes = tuple(notes)
        self._cold: list[TurnRecord] = []
        self._ready_s: float | None = None

    @property
    def breaks_at(self) -> int | None:
        """The fewest sessions that were too many; None: none were."""
        return next((step.sessions for step in sorted(self.steps, key=lambda s: s.sessions) if step.broken), None)

    def block(self) -> dict[str, Any]:
        """`load` of `result.json`; the results of the steps are `configs`, in the same order."""
        options = self._options
        return {
            "config": self._subject.name,
            "turns_a_conversation": options.turns,
            "minutes_a_step": options.minutes,
            "limits": {"p95_ms": options.most_p95_ms, "missed_rate": options.most_missed},
            "cores": usable_cores(),
            "breaks_at": self.breaks_at,
            "steps": [
                {
                    "sessions": step.sessions,
                    "result": index,
                    "loop_lag_ms": step.loop_lag_ms,
                    "loop_lag_p999_ms": step.loop_lag_ms["p999"],
                    "wall_s": round(step.wall_s, 3),
                    "cores_busy": step.cores_busy,
                    **({"broken": step.broken} if step.broken else {}),
                }
                for index, step in enumerate(self.steps)
            ],
        }

    async def run(
        self, on_heard: Callable[[Heard], None] | None = None, on_step: Callable[[Step], None] | None = None
    ) -> None:
        """
        :raises AntiphonError: the subject cannot be loaded, or a clip not be read.
        """
        tracks = [Track.of(clip) for clip in self._clips]
        spoken = [track for track in tracks if track.clip.has_speech]
        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            began_s = loop.time()
            await stack.enter_async_context(self._subject)
            self._ready_s = loop.time() - began_s
            for number in range(self._options.warmup if spoken else 0):
                # the last clips: what the engines remember of them is forgotten when they come round again
                (seen,) = await play_clips(self._subject, [spoken[-1 - number % len(spoken)]], self._options.patience)
                if number == 0:
                    self._cold.append(judge(seen, run=0, cold=True))
            for sessions in self._options.sessions:
                step = await self._step(sessions, tracks, on_heard)
                self.steps.append(step)
                if on_step is not None:
                    on_step(step)

    # ------------------------------------------------------------------------------------ inside

    async def _step(self, sessions: int, tracks: Sequence[Track], on_heard: Callable[[Heard], None] | None) -> Step:
        options = self._options
        people = _People(self._subject, tracks, sessions, options, on_heard)
        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            meter = await stack.enter_async_context(Meter(self._subject.pids)) if self._measures_costs else None
            cpu_0, began_s = meter.cpu_s() if meter else 0.0, loop.time()
            async with Ticker() as ticker:  # inside: to look for processes holds up the loop
                await people.talk()
            wall_s, turns = loop.time() - began_s, people.turns
            cpu_s = meter.cpu_s() - cpu_0 if meter else None
        await people.leave()
        result = self._result(sessions, people, None if cpu_s is None else cpu_s / max(1, turns), meter)
        step = Step(sessions, result, ticker.lag_ms(), wall_s, None if cpu_s is None else round(cpu_s / wall_s, 2))
        step.broken = _broken(result, options)
        return step

    @property
    def _measures_costs(self) -> bool:
        pids = self._subject.pids
        return self._options.costs and (pids is None or bool(pids))

    def _result(
        self, sessions: int, people: _People, cpu_s_per_turn: float | None, meter: Meter | None
    ) -> ConfigResult:
        runs: Counter[str] = Counter()
        records = []
        for seen in people.counted:
            clip = seen.track.clip.name
            records.append(judge(seen, run=runs[clip], concurrency=sessions))
            runs[clip] += 1
        late_s = max((seen.late_s for seen in people.counted), default=0.0)
        late = [f"input came up to {late_s * 1000:.0f} ms late: the machine was busy"] if late_s > LATE_S else []
        first = not self.steps
        result = summarise(
            self._subject.name,
            [*(self._cold if first else ()), *records],
            settings=self._settings,
            concurrency=sessions,
            peak_rss_mb=meter.peak_rss_mb if meter else None,
            ready_s=self._ready_s if first else None,
            one_breath=[clip.name for clip in self._clips if clip.has_speech and not clip.pauses_ms],
            notes=[*late, *self._notes],
        )
        return replace(result, cpu_s_per_turn=None if cpu_s_per_turn is None else round(cpu_s_per_turn, 4))


class _People:
    """The sessions of one step."""

    def __init__(
        self,
        subject: Subject,
        tracks: Sequence[Track],
        sessions: int,
        options: LoadOptions,
        on_heard: Callable[[Heard], None] | None,
    ) -> None:
        self.counted: list[Observation] = []
        self.turns = 0
        """Turns that are over, counted or not."""
        self._subject = subject
        self._tracks = tracks
        self._sessions = sessions
        self._options = options
        self._patience = replace(options.patience, listen_s=options.patience.reply_s)  # nobody is in a hurry here
        self._on_heard = on_heard
        self._done = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._through = 0
        self._all_through = asyncio.Event()

    async def talk(self) -> None:
        """Until everybody has had his turns."""
        self._tasks = [
            asyncio.create_task(self._person(place), name=f"bench-person-{place}") for place in range(self._sessions)
        ]
        through = asyncio.create_task(self._all_through.wait(), name="bench-all-through")
        try:
            await asyncio.wait({through, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in self._tasks:
                if task.done():
                    task.result()  # nobody leaves by himself: this raises
        except BaseException:
            await self.leave()
            raise
        finally:
            through.cancel()

    async def leave(self) -> None:
        """End the conversations that still go on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _person(self, place: int) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(place * STAGGER_S / self._sessions)
        minutes = self._options.minutes
        until_s = loop.time() + (minutes or 0.0) * 60
        at = place * len(self._tracks) // self._sessions  # nobody hears the same clips at the same time
        through = False
        while True:
            at += await self._conversation(at, counts=not through)
            if not through and loop.time() >= until_s:
                through = True
                self._through += 1
                if self._through == self._sessions:
                    self._all_through.set()

    async def _conversation(self, at: int, *, counts: bool) -> int:
        """One conversation from a place in the clips on; returns how many clips it heard."""
        heard = self._options.turns + 1
        tracks = [self._tracks[(at + number) % len(self._tracks)] for number in range(heard)]
        first = True

        def on_seen(seen: Observation) -> None:
            nonlocal first
            _lighten(seen)
            self.turns += 1
            if counts and not first:
                self._tell(seen)
            first = False

        found = await play_clips(self._subject, tracks, self._patience, on_seen=on_seen)
        if counts:
            self.counted += found[1:]
        return heard

    def _tell(self, seen: Observation) -> None:
        self._done += 1
        if self._on_heard is not None:
            total = None if self._options.minutes else self._options.turns * self._sessions
            self._on_heard(Heard(self._sessions, self._done, total, seen.track.clip.name))


def _lighten(seen: Observation) -> None:
    """Let go of the audio that is not looked at again: hours of replies would fill the memory.

    Lengths and places stay. (Judging itself waits for the end of the step: it would hold up the event loop.)
    """
    at_s = first_audible(seen.pieces)
    if at_s is None:
        return
    seen.pieces = [
        piece
        if piece.start_s < at_s + _JUDGED_S
        else Piece(piece.start_s, np.broadcast_to(np.float32(0), (len(piece.samples),)), piece.rate_hz)
        for piece in seen.pieces
    ]


def _broken(result: ConfigResult, options: LoadOptions) -> str:
    """The rule: a p95 above the limit, or more turns without an answer than are allowed."""
    if result.turns == 0:
        return ""
    unanswered = (result.missed + result.failed) / result.turns
    if unanswered > options.most_missed:
        return f"{result.missed + result.failed} of {result.turns} turns missed or failed"
    p95 = result.ttfa_ms.p95
    if p95 is not None and p95 > options.most_p95_ms:
        return f"p95 above {options.most_p95_ms:g} ms"
    return ""
