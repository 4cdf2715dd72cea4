"""The turn machine: pure, so every transition can be tried."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.protocols import EndpointPolicy
from antiphon.pipeline import turns
from antiphon.pipeline.turns import (
    AskDetector,
    AudioArrived,
    Clear,
    CommitTurn,
    DiscardTurn,
    EndEstimated,
    EndOfInput,
    ManualCommit,
    OpenTurn,
    PauseTurn,
    ResumeTurn,
    SpeechBegan,
    SpeechPaused,
    SpeechSuspected,
    State,
    Tick,
    TurnAction,
    TurnInput,
    TurnMachine,
)

FIXED = EndpointPolicy(silence_ms=600)
SMART = EndpointPolicy(silence_ms=700, steps=((0.9, 200), (0.5, 400)), check_at_ms=(100, 300), max_silence_ms=1500)


def run(machine: TurnMachine, *script: tuple[float, TurnInput]) -> list[TurnAction]:
    return [action for at_s, event in script for action in machine.feed(event, at_s)]


def paused(policy: EndpointPolicy = FIXED, **options: float) -> TurnMachine:
    machine = TurnMachine(policy, **options)
    run(machine, (1.0, SpeechBegan(0.9)), (2.06, SpeechPaused(2.0)))
    return machine


def test_a_turn_opens_pauses_and_is_committed() -> None:
    machine = TurnMachine(FIXED)
    assert machine.deadline() is None
    assert run(machine, (1.0, SpeechBegan(0.9))) == [OpenTurn(1, 0.9)]
    assert run(machine, (2.06, SpeechPaused(2.0))) == [PauseTurn(1, 0, 2.0)]
    assert machine.deadline() == pytest.approx(2.6)
    assert run(machine, (2.59, Tick())) == []
    assert run(machine, (2.6, Tick())) == [CommitTurn(1, 0, "silence", None)]
    assert machine.state is State.IDLE and machine.deadline() is None


def test_going_on_raises_the_revision() -> None:
    machine = paused()
    assert run(machine, (2.3, SpeechBegan(2.2))) == [ResumeTurn(1, 1)]
    assert run(machine, (3.06, SpeechPaused(3.0))) == [PauseTurn(1, 1, 3.0)]
    assert run(machine, (3.7, AudioArrived())) == [CommitTurn(1, 1, "silence", None)]
    assert run(machine, (5.0, SpeechBegan(4.9))) == [OpenTurn(2, 4.9)]
    assert machine.revision == 0


def test_a_moment_of_speech_puts_the_end_off_a_little() -> None:
    machine = paused()
    assert run(machine, (2.58, SpeechSuspected()), (2.6, Tick()), (2.63, AudioArrived())) == []
    assert machine.deadline() == pytest.approx(2.644)
    assert run(machine, (2.65, AudioArrived())) == [CommitTurn(1, 0, "silence", None)]


def test_speech_that_was_suspected_goes_on() -> None:
    machine = paused()
    assert run(machine, (2.58, SpeechSuspected()), (2.61, SpeechSuspected())) == []
    assert run(machine, (2.65, SpeechBegan(2.56))) == [ResumeTurn(1, 1)]


def test_sounds_that_never_become_speech_put_the_end_off_only_so_long() -> None:
    machine = paused()
    sounds = [(2.0 + 0.03 * count, SpeechSuspected()) for count in range(1, 40)]
    ends = [at_s for at_s, event in sounds if machine.feed(event, at_s)]
    assert ends == [pytest.approx(2.9)], "0.3 s after the 0.6 s of silence"


def test_what_was_suspected_before_a_pause_does_not_count() -> None:
    machine = paused()
    assert run(machine, (2.5, SpeechSuspected()), (2.52, SpeechBegan(2.4)), (2.53, SpeechPaused(1.94))) != []
    assert machine.deadline() == pytest.approx(2.54)


@pytest.mark.parametrize(
    ("probability", "silence_s"),
    [(1.0, 0.2), (0.9, 0.2), (0.89, 0.4), (0.5, 0.4), (0.49, 1.5), (0.0, 1.5), (None, 0.7)],
)
def test_the_probability_sets_the_silence(probability: float | None, silence_s: float) -> None:
    machine = paused(SMART)
    assert run(machine, (2.1, Tick())) == [AskDetector(1, 0)]
    assert run(machine, (2.12, EndEstimated(1, 0, probability))) == []
    if silence_s > 0.3:
        assert run(machine, (2.3, Tick())) == [AskDetector(1, 0)]
    assert run(machine, (2.0 + silence_s - 0.01, Tick())) == []
    assert run(machine, (2.0 + silence_s, Tick())) == [CommitTurn(1, 0, "silence", probability)]


def test_a_late_answer_of_a_sure_end_commits_at_once() -> None:
    machine = paused(SMART)
    assert run(machine, (2.1, Tick()), (2.3, Tick())) == [AskDetector(1, 0), AskDetector(1, 0)]
    assert run(machine, (2.5, EndEstimated(1, 0, 0.95))) == [CommitTurn(1, 0, "silence", 0.95)]


def test_answers_about_another_revision_do_not_count() -> None:
    machine = paused(SMART)
    run(machine, (2.1, Tick()), (2.15, SpeechBegan(2.14)), (3.0, SpeechPaused(2.95)))
    assert run(machine, (3.01, EndEstimated(1, 0, 1.0))) == []
    assert run(machine, (3.02, EndEstimated(7, 1, 1.0))) == []
    assert run(machine, (3.2, Tick())) == [AskDetector(1, 1)]


def test_a_missed_check_is_asked_once() -> None:
    machine = paused(SMART)
    assert run(machine, (2.35, Tick())) == [AskDetector(1, 0)]
    assert run(machine, (2.4, Tick())) == []


def test_the_longest_turn_is_committed_while_the_voice_goes_on() -> None:
    machine = TurnMachine(FIXED, max_turn_s=5.0)
    run(machine, (1.0, SpeechBegan(0.9)), (5.5, AudioArrived()))
    assert machine.deadline() == pytest.approx(5.9)
    assert run(machine, (5.9, AudioArrived())) == [CommitTurn(1, 0, "max_turn", None)]
    assert run(machine, (5.95, SpeechBegan(5.92))) == [OpenTurn(2, 5.92)]


def test_a_stalled_microphone_ends_its_turn() -> None:
    machine = TurnMachine(FIXED, stall_s=1.0)
    run(machine, (1.0, SpeechBegan(0.9)), (1.5, AudioArrived()))
    assert machine.deadline() == pytest.approx(2.5)
    assert run(machine, (2.5, Tick())) == [PauseTurn(1, 0, 1.5), CommitTurn(1, 0, "silence", None)]


@pytest.mark.parametrize(("event", "reason"), [(EndOfInput(), "end_of_input"), (ManualCommit(), "manual")])
def test_the_end_of_input_and_a_manual_commit_end_a_turn(event: TurnInput, reason: str) -> None:
    speaking = TurnMachine(FIXED)
    run(speaking, (1.0, SpeechBegan(0.9)))
    for machine in (speaking, paused()):
        actions = run(machine, (2.1, event))
        assert [(type(action), getattr(action, "reason", "")) for action in actions] == [(CommitTurn, reason)]
    assert run(TurnMachine(FIXED), (1.0, event)) == []


def test_nothing_opens_after_the_end_of_input() -> None:
    machine = TurnMachine(FIXED)
    assert run(machine, (1.0, EndOfInput()), (2.0, SpeechBegan(1.9)), (9.0, Tick())) == []


def test_clear_discards_the_open_turn_only() -> None:
    assert run(paused(), (2.1, Clear())) == [DiscardTurn(1)]
    assert run(TurnMachine(FIXED), (1.0, Clear())) == []


def test_events_that_change_nothing() -> None:
    machine = TurnMachine(FIXED)
    assert run(machine, (0.5, SpeechPaused(0.4)), (0.6, EndEstimated(0, 0, 1.0)), (0.7, Tick())) == []
    run(machine, (1.0, SpeechBegan(0.9)))
    assert run(machine, (1.1, SpeechBegan(1.0))) == []


def test_manual_turns_wait_for_ever() -> None:
    machine = TurnMachine(turns.MANUAL, max_turn_s=math.inf)
    run(machine, (1.0, SpeechBegan(0.9)), (2.0, SpeechPaused(1.9)))
    assert machine.deadline() is None
    assert run(machine, (1e6, Tick())) == []
    assert run(machine, (1e6, EndOfInput())) == [CommitTurn(1, 0, "end_of_input", None)]


_events = st.one_of(
    st.just("began"), st.just("paused"), st.just("audio"), st.just("tick"), st.just("manual"), st.just("clear"),
    st.just("end"), st.tuples(st.integers(0, 4), st.integers(0, 4), st.none() | st.floats(0, 1)),
)  # fmt: skip


@given(st.lists(st.tuples(st.floats(0, 1.2), _events), max_size=60), st.sampled_from([FIXED, SMART]))
def test_whatever_happens(script: list[tuple[float, object]], policy: EndpointPolicy) -> None:
    """Turns come one after another, each is committed or discarded at most once, and a tick at the deadline acts."""
    machine = TurnMachine(policy, max_turn_s=8.0)
    now_s = 0.0
    open_turn: int | None = None
    revision = 0
    closed: set[int] = set()
    simple: dict[object, TurnInput] = {
        "audio": AudioArrived(), "tick": Tick(), "manual": ManualCommit(), "clear": Clear(), "end": EndOfInput(),
    }  # fmt: skip

    def check(actions: list[TurnAction]) -> None:
        nonlocal open_turn, revision
        for action in actions:
            match action:
                case OpenTurn(turn, _):
                    assert open_turn is None and turn == len(closed) + 1
                    open_turn, revision = turn, 0
                case ResumeTurn(turn, new):
                    assert turn == open_turn and new == revision + 1
                    revision = new
                case PauseTurn(turn, at, _) | AskDetector(turn, at):
                    assert (turn, at) == (open_turn, revision)
                case CommitTurn(turn, at, _, _):
                    assert (turn, at) == (open_turn, revision)
                    closed.add(turn)
                    open_turn = None
                case DiscardTurn(turn):
                    assert turn == open_turn
                    closed.add(turn)
                    open_turn = None

    for wait_s, kind in script:
        until_s = now_s + wait_s
        for _ in range(200):
            deadline_s = machine.deadline()
            if deadline_s is None or deadline_s > until_s:
                break
            now_s = max(now_s, deadline_s)
            before = (machine.state, machine.deadline())
            check(machine.feed(Tick(), now_s))
            assert (machine.state, machine.deadline()) != before, "a tick at the deadline changed nothing"
        else:
            pytest.fail("the machine ticks for ever")
        now_s = until_s
        event: TurnInput
        if kind == "began":
            event = SpeechBegan(now_s)
        elif kind == "paused":
            event = SpeechPaused(now_s)
        elif isinstance(kind, tuple):
            event = EndEstimated(*kind)
        else:
            event = simple[kind]
        check(machine.feed(event, now_s))
    for _ in range(10):  # silence for ever ends every turn
        if (deadline_s := machine.deadline()) is None:
            break
        now_s = max(now_s, deadline_s)
        check(machine.feed(Tick(), now_s))
    assert machine.state is State.IDLE
