"""The turn machine: turns that are reopened, words that lengthen or shorten a silence, habits."""

from __future__ import annotations

import pytest

from antiphon.engines.protocols import EndpointPolicy
from antiphon.pipeline.pauses import PauseHabit
from antiphon.pipeline.turns import (
    AskDetector,
    Clear,
    CommitTurn,
    EndEstimated,
    EndOfInput,
    ManualCommit,
    OpenTurn,
    PauseTurn,
    ReopenTurn,
    ResumeTurn,
    Sealed,
    SpeechBegan,
    SpeechPaused,
    State,
    TextJudged,
    Tick,
    TurnAction,
    TurnInput,
    TurnMachine,
)

POLICY = EndpointPolicy(
    silence_ms=700,
    steps=((0.9, 250), (0.5, 400)),
    check_at_ms=(100,),
    low_silence_ms=1000,
    by_words={"handover": (200, 300, 600), "doubtful": (220, 800, 900), "open": (1100, 1100, 1100)},
    max_silence_ms=1500,
)


def run(machine: TurnMachine, *script: tuple[float, TurnInput]) -> list[TurnAction]:
    return [action for at_s, event in script for action in machine.feed(event, at_s)]


def committed(reopen_ms: float = 300) -> TurnMachine:
    """A turn that ended at 2 s and was committed at 2.6 s."""
    machine = TurnMachine(EndpointPolicy(silence_ms=600), reopen_ms=reopen_ms)
    run(machine, (1.0, SpeechBegan(0.9)), (2.06, SpeechPaused(2.0)), (2.6, Tick()))
    assert machine.state is State.IDLE
    return machine


def test_speech_just_after_the_commit_reopens_the_turn() -> None:
    machine = committed()
    assert machine.reopens(2.9) and not machine.reopens(2.91)
    assert run(machine, (3.0, SpeechBegan(2.9))) == [ReopenTurn(1, 1)]
    assert run(machine, (4.06, SpeechPaused(4.0))) == [PauseTurn(1, 1, 4.0)]
    assert run(machine, (4.6, Tick())) == [CommitTurn(1, 1, "silence", None)]
    assert run(machine, (5.2, SpeechBegan(5.1))) == [OpenTurn(2, 5.1)]


@pytest.mark.parametrize("event", [Sealed(1), Clear()])
def test_what_has_had_an_effect_is_not_reopened(event: TurnInput) -> None:
    machine = committed()
    run(machine, (2.7, event))
    assert run(machine, (2.8, SpeechBegan(2.7))) == [OpenTurn(2, 2.7)]


def test_a_seal_is_of_one_turn_and_of_a_committed_one() -> None:
    machine = committed()
    run(machine, (2.7, Sealed(7)))
    assert run(machine, (2.8, SpeechBegan(2.7))) == [ReopenTurn(1, 1)]
    run(machine, (2.9, Sealed(1)))  # the answer that was sealed is void already
    assert run(machine, (3.06, SpeechPaused(3.0)), (3.6, Tick()), (3.7, SpeechBegan(3.65)))[-1] == ReopenTurn(1, 2)


def test_the_window_closes_by_time_that_passes() -> None:
    """Where no audio comes for a while, the stream clock of what comes later stands where it stood."""
    machine = committed()
    assert machine.deadline() == pytest.approx(2.6 + 0.3 + 0.5)
    run(machine, (3.4, Tick()))
    assert machine.deadline() is None
    assert run(machine, (2.9, SpeechBegan(2.8))) == [OpenTurn(2, 2.8)]


def test_only_a_commit_by_silence_can_be_wrong() -> None:
    for event in (ManualCommit(), EndOfInput()):
        machine = TurnMachine(EndpointPolicy(silence_ms=600), reopen_ms=300)
        run(machine, (1.0, SpeechBegan(0.9)), (2.06, SpeechPaused(2.0)), (2.1, event))
        assert not machine.reopens(2.2)


def test_without_reopening() -> None:
    assert not committed(reopen_ms=0).reopens(2.6)


@pytest.mark.parametrize(
    ("probability", "cue", "silence_s"),
    [
        (0.95, "unknown", 0.25),
        (0.6, "unknown", 0.4),
        (0.1, "unknown", 1.0),
        (None, "unknown", 0.7),
        (0.95, "statement", 0.25),  # a row that the policy lacks: the steps alone
        (0.95, "handover", 0.2),
        (0.6, "handover", 0.3),
        (0.1, "handover", 0.6),
        (None, "handover", 0.7),
        (0.95, "doubtful", 0.22),
        (0.6, "doubtful", 0.8),
        (None, "doubtful", 0.9),
        (0.99, "open", 1.1),
        (0.0, "open", 1.1),
        (None, "open", 1.1),
    ],
)
def test_words_shorten_and_lengthen_the_silence(probability: float | None, cue: str, silence_s: float) -> None:
    machine = TurnMachine(POLICY)
    run(machine, (1.0, SpeechBegan(0.9)), (2.06, SpeechPaused(2.0)))
    assert run(machine, (2.1, EndEstimated(1, 0, probability)))[:1] == [AskDetector(1, 0)]
    run(machine, (2.12, TextJudged(1, 0, cue)))  # type: ignore[arg-type]
    assert machine.deadline() == pytest.approx(2.0 + silence_s)
    assert run(machine, (2.0 + silence_s - 0.001, Tick())) == []
    assert run(machine, (2.0 + silence_s, Tick())) == [CommitTurn(1, 0, "silence", probability)]


def test_words_of_another_revision_do_not_count() -> None:
    machine = TurnMachine(POLICY)
    run(machine, (1.0, SpeechBegan(0.9)), (1.96, SpeechPaused(1.9)), (1.99, TextJudged(1, 0, "open")))
    assert run(machine, (2.0, SpeechBegan(1.98))) == [ResumeTurn(1, 1)]
    run(machine, (3.06, SpeechPaused(3.0)), (3.1, TextJudged(1, 0, "open")), (3.1, TextJudged(2, 1, "open")))
    assert machine.deadline() == pytest.approx(3.7)


def test_a_policy_can_be_replaced_while_the_user_pauses() -> None:
    machine = TurnMachine(POLICY)
    run(machine, (1.0, SpeechBegan(0.9)), (2.06, SpeechPaused(2.0)))
    machine.policy = EndpointPolicy(silence_ms=300)
    assert machine.deadline() == pytest.approx(2.3)


def test_a_speaker_who_pauses_long_is_waited_for_longer() -> None:
    policy = EndpointPolicy(silence_ms=800, max_silence_ms=1500)
    machine = TurnMachine(policy, habit=PauseHabit())
    at_s = 1.0
    for _ in range(6):
        run(machine, (at_s, SpeechBegan(at_s)), (at_s + 1.06, SpeechPaused(at_s + 1.0)))
        at_s += 1.75
    run(machine, (at_s, SpeechBegan(at_s)), (at_s + 1.06, SpeechPaused(at_s + 1.0)))
    deadline_s = machine.deadline()
    assert deadline_s is not None and at_s + 1.0 + 0.8 < deadline_s <= at_s + 1.0 + 1.5
