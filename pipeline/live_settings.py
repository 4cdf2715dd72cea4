"""What may change while a session runs: how the user is heard, when a turn ends, how answers are spoken."""

from __future__ import annotations

from collections.abc import Callable

from antiphon.engines.protocols import EndpointPolicy, STTOptions, TTSOptions
from antiphon.pipeline.ahead import Ahead
from antiphon.pipeline.answering import Answering
from antiphon.pipeline.barge_in import BargeIn
from antiphon.pipeline.gate import GateSettings
from antiphon.pipeline.intake import Intake
from antiphon.pipeline.interruption import InterruptionSettings
from antiphon.pipeline.pauses import PauseHabit


class LiveSettings:
    """One per session, as its `live`. All of it takes effect at once, for the open turn too."""

    def __init__(
        self, *, intake: Intake, ahead: Ahead, answering: Answering, barge_in: BargeIn, on_change: Callable[[], None]
    ) -> None:
        """:param on_change: told when a turn may end at another time."""
        self._intake = intake
        self._ahead = ahead
        self._answering = answering
        self._barge_in = barge_in
        self._on_change = on_change

    @property
    def answers(self) -> bool:
        """Whether what is said is answered; else it is transcribed only."""
        return self._answering.answers

    @answers.setter
    def answers(self, answers: bool) -> None:
        self._answering.answers = answers

    @property
    def policy(self) -> EndpointPolicy:
        """When silence ends a turn."""
        return self._intake.machine.policy

    @policy.setter
    def policy(self, policy: EndpointPolicy) -> None:
        machine = self._intake.machine
        if policy.adapts_up_to != machine.policy.adapts_up_to:
            machine.habit = habit_of(policy)
        machine.policy = policy
        self._on_change()

    def speak(self, voice: TTSOptions, *, speaks: bool = True) -> None:
        """How answers are spoken; `speaks=False`: they are for reading."""
        self._answering.voice, self._answering.speaks = voice, speaks

    def listen(
        self, *, stt: STTOptions, gate: GateSettings, threshold: float | None, interruption: InterruptionSettings
    ) -> None:
        """How the user is heard.

        :param threshold: speech begins at this probability of the VAD; None: where the VAD itself says.
        """
        self._ahead.options = stt
        self._intake.gate.adjust(gate, threshold)
        self._barge_in.settings = interruption


def habit_of(policy: EndpointPolicy) -> PauseHabit | None:
    """What a policy wants to know of the speaker's own pauses."""
    return PauseHabit(high=policy.adapts_up_to) if policy.adapts_up_to > 1 else None
