"""From the events of one conversation to metrics, log lines and what is known of it now."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable

from antiphon.pipeline.events import (
    AudioStarted,
    Committed,
    Dropped,
    ErrorEvent,
    Event,
    Interrupted,
    SpeechStarted,
    TurnEnded,
    UsageEvent,
    WarningEvent,
)
from antiphon.pipeline.usage import EngineUsage, summed
from antiphon.pipeline.waterfall import STEPS, waterfall
from antiphon.server.observing.metrics import Metrics

logger = logging.getLogger(__name__)

SPOKE_ON_S = 1.0
"""Who speaks so soon after the commit, before there is any answer to hear, was probably cut off."""

_LABELS = {name: key.removesuffix("_s") for key, name in STEPS}


class Watch:
    """An event sink. Knows nothing of what was said.

    :param on_ttfa: told of the time to the first audio of each answer, in seconds.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        session: str,
        protocol: str,
        key: str,
        counted_as: str = "",
        address: str = "",
        on_ttfa: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.session = session
        self.protocol = protocol
        self.key = key
        self.address = address
        self._counted_as = counted_as or key
        self.turns = 0
        self.interruptions = 0
        self.errors = 0
        self.usage: tuple[EngineUsage, ...] = ()
        self.began_s = self.active_s = asyncio.get_running_loop().time()
        """Loop time; `active_s`: of the last event."""
        self._metrics = metrics
        self._on_ttfa = on_ttfa
        self._committed: Committed | None = None
        """The last turn that silence ended, while none of its answer is audible."""
        self._spoke_on: set[int] = set()
        """Turns that may be the rest of one that was cut off."""
        self.at_end: list[Callable[[], None]] = []
        """Called once, when the conversation is over."""
        self._over = False
        metrics.begin(protocol)
        logger.info("conversation begun", extra={"session": session, "protocol": protocol, "key": key})

    def __call__(self, event: Event) -> None:
        self.active_s = event.t_s
        match event:
            case Committed():
                self._committed = event if event.reason == "silence" else None
            case SpeechStarted():
                self._note_spoke_on(event)
            case AudioStarted():
                self._committed = None
            case Dropped(reason="reopened"):
                self._committed = None
                self._cut_off("reopened")
            case Interrupted(acknowledged=False):
                self.interruptions += 1
                self._metrics.count("antiphon_interruptions_total")
            case ErrorEvent():
                self.errors += 1
                self._metrics.error(event.stage, event.code)
                about = {"turn": event.turn, "stage": event.stage, "code": event.code, "fatal": event.fatal}
                logger.warning("a stage failed", extra={"session": self.session, **about})
            case WarningEvent():
                self._metrics.warning(event.code)
                logger.warning("warned", extra={"session": self.session, "turn": event.turn, "code": event.code})
            case UsageEvent():
                self._use(event.usage)
            case TurnEnded():
                self._end_turn(event)

    def close(self, reason: str = "") -> None:
        """The conversation is over. The first call counts."""
        if self._over:
            return
        self._over = True
        lasted_s = asyncio.get_running_loop().time() - self.began_s
        self._metrics.end(self.protocol, lasted_s)
        about = {"protocol": self.protocol, "key": self.key, "reason": reason, **self.summary()}
        logger.info("conversation ended", extra={"session": self.session, **about, "duration_s": round(lasted_s, 1)})
        for tell in self.at_end:
            tell()

    def summary(self) -> dict[str, float | int]:
        """Numbers of the whole conversation so far."""
        return {"turns": self.turns, "interruptions": self.interruptions, "errors": self.errors, **self.used()}

    def used(self) -> dict[str, float]:
        """What engines used so far: `stt_audio_s`, `llm_output_tokens`, ..."""
        return {f"{one.stage}_{one.unit}": one.amount for one in _by_unit(self.usage)}

    # ------------------------------------------------------------------------------ inside

    def _note_spoke_on(self, event: SpeechStarted) -> None:
        last, self._committed = self._committed, None
        if last is not None and event.turn > last.turn and event.t_s - last.t_s <= SPOKE_ON_S:
            self._spoke_on.add(event.turn)

    def _cut_off(self, sign: str) -> None:
        self._metrics.count("antiphon_false_cutoffs_estimated_total", sign=sign)

    def _use(self, usage: tuple[EngineUsage, ...]) -> None:
        self.usage = summed([*self.usage, *usage])
        self._metrics.use(self._counted_as, usage)

    def _end_turn(self, event: TurnEnded) -> None:
        self.turns += 1
        metrics = self._metrics
        metrics.count("antiphon_turns_total", protocol=self.protocol, status=event.status)
        if event.turn in self._spoke_on:
            self._spoke_on.discard(event.turn)
            if event.status not in ("no_speech", "dismissed"):
                self._cut_off("spoke_on")
        self._use(event.usage)
        if event.speculation.hit is not None:
            metrics.count("antiphon_speculated_answers_total", outcome="hit" if event.speculation.hit else "miss")
        ttfa_s = self._observe_times(event)
        about: dict[str, object] = {"turn": event.turn, "status": event.status}
        if ttfa_s is not None:
            about["ttfa_ms"] = round(ttfa_s * 1000)
        logger.info("turn ended", extra={"session": self.session, **about})

    def _observe_times(self, event: TurnEnded) -> float | None:
        """Returns the time to the first audio in seconds, where there was any."""
        times = event.timings
        if times.speech_end_s is None or event.status in ("no_speech", "dismissed"):
            return None
        if times.commit_s is not None:
            self._metrics.observe("antiphon_commit_delay_seconds", times.commit_s - times.speech_end_s)
        if times.audible_s is None:
            return None
        for step in waterfall(dataclasses.asdict(times)):
            self._metrics.observe("antiphon_stage_seconds", step.part_ms / 1000, step=_LABELS[step.name])
        ttfa_s = times.audible_s - times.speech_end_s
        self._metrics.observe("antiphon_ttfa_seconds", ttfa_s, protocol=self.protocol)
        self._on_ttfa(ttfa_s)
        return ttfa_s


def _by_unit(usage: tuple[EngineUsage, ...]) -> tuple[EngineUsage, ...]:
    """Sums by stage and unit, whichever engine it was."""
    return summed(dataclasses.replace(one, engine="") for one in usage)
