"""What may change while a session runs: how the user is heard, when a turn ends, how answers are spoken."""

from __future__ import annotations

from antiphon.engines.protocols import EndpointPolicy, STTOptions, TTSOptions
from antiphon.pipeline.answering import Answering
from antiphon.pipeline.gate import GateSettings
from antiphon.pipeline.interruption import InterruptionSettings
from antiphon.pipeline.turn_taking import TurnTaking, habit_of
from antiphon.pipeline.voicing import Voicing


class LiveSettings:
    """One per session, as its `live`. All of it takes effect at once, for the open turn too."""

    def __init__(self, turn_taking: TurnTaking, answering: Answering, voicing: Voicing) -> None:
        self._turn_taking = turn_taking
        self._answering = answering
        self._voicing = voicing

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
        return self._turn_taking.intake.machine.policy

    @policy.setter
    def policy(self, policy: EndpointPolicy) -> None:
        intake = self._turn_taking.intake
        machine = intake.machine
        if policy.adapts_up_to != machine.policy.adapts_up_to:
            machine.habit = habit_of(policy)
        machine.policy = policy
        intake.rearm()

    def speak(self, voice: TTSOptions, *, speaks: bool = True) -> None:
        """How answers are spoken; `speaks=False`: they are for reading."""
        self._voicing.voice, self._voicing.speaks = voice, speaks

    def listen(
        self, *, stt: STTOptions, gate: GateSettings, threshold: float | None, interruption: InterruptionSettings
    ) -> None:
        """How the user is heard.

        :param threshold: speech begins at this probability of the VAD; None: where the VAD itself says.
        """
        self._turn_taking.ahead.options = stt
        self._turn_taking.intake.gate.adjust(gate, threshold)
        self._turn_taking.barge_in.settings = interruption
