"""The console's sums, in Node: its waterfall is that of the command line, its turns are what the events say."""

from __future__ import annotations

import json
import random
import subprocess
from typing import Any

import pytest
from interop_clients import INTEROP

from antiphon.pipeline.events import (
    ApprovalEvent,
    AudioStarted,
    Committed,
    Dropped,
    ErrorEvent,
    Event,
    Interrupted,
    SpeechStarted,
    SpeechStopped,
    Spoken,
    TextDeltaEvent,
    Timings,
    ToolCallEvent,
    ToolResultEvent,
    TranscriptEvent,
    TurnEnded,
    WarningEvent,
)
from antiphon.pipeline.waterfall import STEPS, waterfall
from antiphon.server.observing.metrics import Metrics

pytestmark = pytest.mark.interop


def model(node: str, **cases: Any) -> dict[str, Any]:
    program = str(INTEROP / "console" / "model.mjs")
    done = subprocess.run([node, program], input=json.dumps(cases), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_its_waterfall_is_that_of_the_command_line(node: str) -> None:
    chance = random.Random(7)
    cases: list[dict[str, float | None]] = [{"speech_end_s": None}, {}]
    for _ in range(300):
        times: dict[str, float | None] = {"speech_end_s": 100.0}
        for key, _name in STEPS:
            times[key] = None if chance.random() < 0.2 else 100.0 + chance.uniform(-0.5, 2.0)
        cases.append(times)
    names = dict(STEPS)
    for times, fall in zip(cases, model(node, timings=cases)["falls"], strict=True):
        ours = [(step.name, step.done_ms, step.part_ms) for step in waterfall(times)]
        assert [(names[key], pytest.approx(done), pytest.approx(part)) for key, done, part in fall] == ours


class Talk:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._t_s = 50.0

    def tell(self, kind: type[Event], turn: int = 1, **fields: Any) -> Talk:
        self._t_s += 0.1
        self.events.append(kind(t_s=self._t_s, audio_s=self._t_s - 50, session="s", turn=turn, **fields).to_dict())
        return self

    def asks(self, text: str, turn: int = 1) -> Talk:
        self.tell(SpeechStarted, turn, at_s=0.1).tell(SpeechStopped, turn, at_s=0.5)
        return self.tell(Committed, turn, reason="silence").tell(
            TranscriptEvent, turn, role="user", text=text, final=True
        )

    def ends(self, turn: int = 1, status: Any = "completed", text: str = "") -> Talk:
        times = Timings(speech_end_s=self._t_s - 1.0, audible_s=self._t_s - 0.25)
        return self.tell(TurnEnded, turn, status=status, text=text, timings=times)


def told(node: str, talk: Talk) -> dict[str, Any]:
    (found,) = model(node, events=[talk.events])["conversations"]
    return found  # type: ignore[no-any-return]


def test_what_is_written_spoken_and_heard_is_told_apart(node: str) -> None:
    talk = Talk().asks("Hello?").tell(TextDeltaEvent, text="It is noon, ").tell(TextDeltaEvent, text="and it is warm.")
    talk.tell(Spoken, text="One moment.", filler=True).tell(Spoken, text="It is noon, ").tell(AudioStarted)
    under_way = told(node, talk)
    assert under_way["phase"] == "speaking"
    (turn,) = under_way["turns"]
    assert turn["pieces"] == [["heard", "It is noon, "], ["coming", "and it is warm."]]
    assert turn["fillers"] == ["One moment."]
    whole = told(node, talk.ends(text="It is noon, and it is warm."))
    assert whole["turns"][0]["pieces"] == [["heard", "It is noon, and it is warm."]]
    assert whole["phase"] == "listening" and whole["answers"] == [pytest.approx(750)]


def test_an_interruption_counts_once_however_often_it_is_told(node: str) -> None:
    talk = Talk().asks("Hello?").tell(TextDeltaEvent, text="One two three four").tell(Spoken, text="One two three")
    talk.tell(AudioStarted).tell(SpeechStarted, 2, at_s=1.0)
    talk.tell(Interrupted, heard="One two", unheard=" three four")
    talk.ends(status="interrupted", text="One two three four")
    talk.tell(Interrupted, heard="One", unheard=" two three four", acknowledged=True)
    found = told(node, talk)
    assert found["interruptions"] == 1 and found["phase"] == "hearing"
    assert found["turns"][0]["pieces"] == [["heard", "One"], ["unheard", " two three four"]]


@pytest.mark.parametrize("reason", ["resumed", "reopened"])
def test_what_is_taken_back_is_gone(node: str, reason: str) -> None:
    talk = Talk().asks("I want").tell(TextDeltaEvent, text="What?").tell(Spoken, text="What?").tell(AudioStarted)
    talk.tell(Dropped, reason=reason)
    assert told(node, talk)["turns"][0]["pieces"] == []
    talk.asks("I want a refund.").tell(TextDeltaEvent, text="Of course.").ends(text="Of course.")
    (turn,) = told(node, talk)["turns"]
    assert (turn["user"], turn["pieces"]) == ("I want a refund.", [["heard", "Of course."]])


def test_tools_approvals_and_errors_stand_in_their_turn(node: str) -> None:
    talk = Talk().asks("Pay.").tell(ToolCallEvent, call_id="c", name="pay", arguments='{"a": 1}')
    talk.tell(ApprovalEvent, approval_id="a", state="pending", question="Pay?", tool="pay")
    assert told(node, talk)["phase"] == "asking"
    talk.tell(ApprovalEvent, approval_id="a", state="granted", question="", by="ann")
    talk.tell(ToolResultEvent, call_id="c", name="pay", output="paid").tell(
        ErrorEvent, stage="tts", code="X", message="no voice"
    )
    (turn,) = told(node, talk.ends(status="failed"))["turns"]
    assert turn["calls"] == [{"id": "c", "name": "pay", "arguments": '{"a": 1}', "output": "paid"}]
    assert (turn["approvals"], turn["errors"]) == ([["granted", "ann"]], ["tts: no voice"])


def test_what_is_typed_is_answered_in_the_turn_that_follows(node: str) -> None:
    talk = Talk()
    talk.events.append({"type": "typed", "text": "What time is it?"})
    talk.tell(TranscriptEvent, 4, role="user", text="What time is it?", final=True)
    talk.tell(TextDeltaEvent, 4, text="It is noon.").ends(4, text="It is noon.")
    (turn,) = told(node, talk)["turns"]
    assert (turn["number"], turn["user"], turn["pieces"]) == (4, "What time is it?", [["heard", "It is noon."]])


def test_what_a_later_session_is_told_is_what_was_heard(node: str) -> None:
    talk = Talk().asks("Hello?").tell(TextDeltaEvent, text="One two three four").tell(Spoken, text="One two three")
    talk.tell(AudioStarted).tell(Interrupted, heard="One two", unheard=" three four").ends(status="interrupted")
    talk.asks("And then?", 2).tell(TextDeltaEvent, 2, text="Then I").tell(Spoken, 2, text="Then")
    talk.events.append({"type": "went on", "text": "The connection broke."})
    talk.asks("Hello again?").tell(TextDeltaEvent, text="Yes.").ends(text="Yes.")
    found = told(node, talk)
    first, second, third = found["turns"]
    assert (second["status"], second["number"]) == ("broken", 2)
    assert (third["number"], third["seam"], third["user"]) == (1, "The connection broke.", "Hello again?")
    assert (first["user"], first["seam"]) == ("Hello?", ""), "turns of the same number are not mixed up"
    heard = [["user", "Hello?"], ["assistant", "One two"], ["user", "And then?"], ["assistant", "Then"]]
    assert found["told"] == [*heard, ["user", "Hello again?"], ["assistant", "Yes."]]


def test_a_very_long_conversation_is_told_by_its_end(node: str) -> None:
    talk = Talk()
    for number in range(1, 61):
        talk.asks(f"Question {number}? {'x' * 700}", number).ends(number, text=f"Answer {number}.")
    told_of = told(node, talk)["told"]
    assert told_of[-1] == ["assistant", "Answer 60."] and told_of[0][1].startswith("Question ")
    assert 15_000 < sum(len(text) for _, text in told_of) <= 20_000


def test_a_warning_stands_in_its_turn_once(node: str) -> None:
    talk = Talk().asks("Hello?")
    for _ in range(2):
        talk.tell(WarningEvent, code="turn_detector_failed", message="the turn detector failed")
    talk.tell(WarningEvent, 0, code="x", message="of the whole session")
    assert [turn["warnings"] for turn in told(node, talk)["turns"]] == [["the turn detector failed"]]


def test_a_broken_connection_is_tried_again_ever_less_often(node: str) -> None:
    refused = {"status": 503, "retryAfterS": 7}
    cases = [[many, 0, None, 0.5] for many in range(8)]
    waits = model(node, tries=cases)["waits"]
    assert waits == [500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]
    soon, late = model(node, tries=[[3, 0, None, 0.0], [3, 0, None, 1.0]])["waits"]
    assert (soon, late) == (3000, 5000), "pages that lost the same server do not come back at once"
    others = [[0, 0, refused, 0.5], [9, 175_000, None, 0.5], *([0, 0, {"status": one}, 0.5] for one in (401, 403, 404))]
    assert model(node, tries=others)["waits"] == [7000, None, None, None, None]


def test_who_is_refused_asks_less_often(node: str) -> None:
    away, broke = {"status": 0}, {"status": 503, "retryAfterS": 10}
    assert model(node, looks=[[2500, away], [2500, {"status": 500}], [2500, broke]])["looks"] == [2500, 2500, 10_000]
    limited = [{"status": 429, "retryAfterS": wait} for wait in (None, 1, 20, 3600)]
    assert model(node, looks=[[2500, one] for one in limited])["looks"] == [15_000, 15_000, 20_000, 60_000]
    assert model(node, looks=[[2500, {"status": 401}]])["looks"] == [60_000]


def test_the_figures_are_those_of_our_metrics(node: str) -> None:
    (shown,) = model(node, metrics=[Metrics().page()[0].decode()])["figures"]
    assert shown["turns"] == "0" and "answers, 95 %" in shown
    made = "\n".join(
        f'antiphon_ttfa_seconds_bucket{{protocol="webrtc",le="{bound}"}} {count}'
        for bound, count in (("0.4", 3), ("0.8", 9), ("+Inf", 10))
    )
    (shown,) = model(node, metrics=[made + '\nantiphon_turns_total{status="failed",protocol="x"} 2\n'])["figures"]
    assert (shown["answers, half of them"], shown["answers, 95 %"]) == ("≤ 800 ms", "over 5 s")
    assert (shown["turns"], shown["turns that failed"]) == ("2", "2")
