"""Turns of two runs, matched by when the user spoke."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from transcript_events import Talk

from antiphon.pipeline.replay import Collector, compare
from antiphon.pipeline.transcript import Call, TurnView
from antiphon.pipeline.transcript.reading import turns


def turn(number: int, start_s: float, end_s: float, user: str = "Hello?", **fields: Any) -> TurnView:
    return TurnView(turn=number, user=user, speech_from_s=start_s, speech_to_s=end_s, **fields)


def call(name: str) -> Call:
    now = datetime.now(UTC)
    return Call(session="s", seq=1, at=now, turn=1, call_id="1", name=name, arguments="{}", output="ok")


def test_turns_are_matched_by_their_speech() -> None:
    then = [turn(1, 0.5, 1.5), turn(2, 4.0, 5.0), turn(3, 8.0, 9.0)]
    now = [turn(1, 0.6, 1.4), turn(2, 2.5, 3.0), turn(3, 8.1, 9.2), turn(4, 12.0, 13.0)]
    pairs = compare(then, now)
    assert [(p.then and p.then.turn, p.now and p.now.turn) for p in pairs] == [
        (1, 1),
        (None, 2),
        (2, None),
        (3, 3),
        (None, 4),
    ]


def test_what_is_the_same_is_a_matter_of_words() -> None:
    (pair,) = compare(
        [turn(1, 0, 1, "What time is it?", heard="It is noon.", unheard=" Bye.", calls=(call("clock"),))],
        [turn(1, 0, 1, "what time is it", heard="It's noon. Bye.", calls=(call("clock"),))],
    )
    assert pair.same_hearing and pair.same_calls and not pair.same_answer
    (pair,) = compare([turn(1, 0, 1, calls=(call("clock"),))], [turn(1, 0, 1)])
    assert not pair.same_calls and pair.same_hearing
    (alone,) = compare([turn(1, 0, 1)], [])
    assert not alone.same_hearing and alone.to_dict()["now"] is None


def test_a_collector_keeps_what_a_store_would() -> None:
    talk, collector = Talk(), Collector()
    for event in [
        *talk.asks("Time?"),
        talk.calls("clock"),
        talk.gives("noon"),
        *talk.says("Noon."),
        talk.ends("Noon."),
    ]:
        collector(event)
    (view,) = turns(collector.records, "sess_a")
    assert (view.user, view.heard, view.status, view.calls[0].output) == ("Time?", "Noon.", "completed", "noon")
    assert view.response_ms is not None and view.speech_from_s is not None
