"""The rules of the benchmark: what counts as an answer. One observation in, one record out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.benchmarks.clips import Clip
from antiphon.benchmarks.drive import Observation
from antiphon.benchmarks.feed import Track
from antiphon.benchmarks.judge import judge
from antiphon.benchmarks.records import TurnRecord
from antiphon.benchmarks.sink import Piece
from antiphon.engines.audio import Samples
from antiphon.pipeline.events import (
    AudioStarted,
    Committed,
    Dropped,
    ErrorEvent,
    Event,
    Speculated,
    SpeechStarted,
    SpeechStopped,
    TextDeltaEvent,
    Timings,
    TranscriptEvent,
    TurnEnded,
)

RATE_HZ = 16000
BEGIN_S = 100.0
ZERO_S = 102.0
"""The clip's speech ends 2 s after its begin."""
WORDS = "turn on the living room lamp"


def event(kind: type[Event], at_ms: float, *, turn: int = 1, revision: int = 0, **fields: Any) -> Event:
    """An event at a time relative to the end of speech."""
    t_s = ZERO_S + at_ms / 1000
    return kind(t_s=t_s, audio_s=t_s - BEGIN_S, session="s", turn=turn, revision=revision, **fields)


def committed(at_ms: float, **fields: Any) -> Event:
    return event(Committed, at_ms, reason="silence", **fields)


def heard(text: str = WORDS, at_ms: float = 300.0, **fields: Any) -> Event:
    return event(TranscriptEvent, at_ms, role="user", text=text, final=True, **fields)


def ended(at_ms: float = 900.0, status: Any = "completed", text: str = "It is on.", **fields: Any) -> Event:
    return event(TurnEnded, at_ms, status=status, text=text, **fields)


def tone(seconds: float = 1.0) -> Samples:
    return (0.3 * np.cos(2 * np.pi * 220 / RATE_HZ * np.arange(round(seconds * RATE_HZ)))).astype(np.float32)


def sound(at_ms: float, samples: Samples | None = None) -> Piece:
    return Piece(ZERO_S + at_ms / 1000, tone() if samples is None else samples, RATE_HZ)


def judged(
    events: Sequence[Event] = (),
    pieces: Sequence[Piece] = (),
    *,
    speech: bool = True,
    words: str = WORDS,
    **fields: Any,
) -> TurnRecord:
    clip = Clip(
        Path("lamp.wav"),
        "made",
        "en",
        4.0,
        0.5 if speech else None,
        2.0 if speech else None,
        transcript=words if speech else "",
    )
    silence = np.zeros(320, np.float32)
    seen = Observation(Track(clip, silence, silence), BEGIN_S, ZERO_S, ZERO_S + 5, list(events), list(pieces), **fields)
    return judge(seen, run=0)


def test_one_answer_to_the_whole_turn_has_a_time() -> None:
    record = judged([committed(200.0, end_probability=0.9), heard(), ended()], [sound(450.0)])
    assert (record.outcome, record.why) == ("answered", "")
    assert (record.ttfa_ms, record.commit_delay_ms, record.compute_after_commit_ms) == (450.0, 200.0, 250.0)
    assert (record.heard, record.reply, record.end_probability) == (WORDS, "It is on.", 0.9)
    assert (record.words, record.word_errors) == (6, 0)


def test_the_time_is_taken_from_the_sound_and_never_from_the_systems_own_word() -> None:
    claims = Timings(audible_s=ZERO_S + 0.001)
    early = event(AudioStarted, 1.0)
    record = judged([committed(0.5), early, heard(), ended(timings=claims)], [sound(700.0)])
    assert record.ttfa_ms == 700.0
    assert record.stages.audible_ms == 700.0


def test_inaudible_samples_are_no_answer() -> None:
    record = judged([committed(200.0), heard(), ended()], [sound(300.0, np.full(16000, 0.009, np.float32))])
    assert (record.outcome, record.ttfa_ms, record.why) == ("missed", None, "no audible answer in time")


@pytest.mark.parametrize(
    ("events", "pieces", "why"),
    [
        ([committed(-300.0), heard()], [sound(-100.0)], "spoke 100 ms before the end"),
        ([committed(-300.0), heard()], [sound(200.0)], "took the turn 300 ms before the end"),
        (
            [
                committed(-900.0, turn=1),
                heard("turn on the", turn=1),
                event(SpeechStarted, -500.0, turn=2, at_s=1.4),
                committed(300.0, turn=2),
                heard("living room lamp", turn=2),
            ],
            [sound(600.0)],
            "took the turn 900 ms before",
        ),
        (
            [
                committed(10.0, turn=1),
                heard("turn on the", turn=1),
                event(SpeechStarted, 20.0, turn=2, at_s=1.9),
                committed(300.0, turn=2),
                heard("living room lamp", turn=2),
            ],
            [sound(600.0)],
            "2 turns of one",
        ),
        ([committed(200.0), heard("turn on the living")], [sound(600.0)], "the last 2 words are missing"),
        ([committed(200.0), heard("living room lamp")], [sound(600.0)], "the first 3 words are missing"),
    ],
    ids=["sound before the end", "commit before the end", "two turns", "split late", "last words", "first words"],
)
def test_a_turn_that_was_cut_has_no_time(events: list[Event], pieces: list[Piece], why: str) -> None:
    record = judged([*events, ended()], pieces)
    assert (record.outcome, record.ttfa_ms, record.compute_after_commit_ms) == ("cutoff", None, None)
    assert why in record.why


def test_the_pieces_of_a_cut_turn_are_joined_for_the_word_errors() -> None:
    record = judged(
        [
            committed(-900.0, turn=1),
            heard("turn on the", turn=1),
            committed(300.0, turn=2),
            heard("living room lamp", turn=2),
        ]
    )
    assert (record.outcome, record.heard, record.word_errors) == ("cutoff", WORDS, 0)


def test_one_wrong_word_at_the_end_is_a_word_error_and_no_cutoff() -> None:
    record = judged([committed(200.0), heard("turn on the living room ramp"), ended()], [sound(600.0)])
    assert (record.outcome, record.word_errors) == ("answered", 1)


def test_what_starts_after_the_end_does_not_make_a_cutoff_of_the_answer_before_it() -> None:
    events = [
        committed(200.0, turn=1),
        heard(turn=1),
        ended(turn=1),
        event(SpeechStarted, 900.0, turn=2, at_s=2.8),
        committed(1500.0, turn=2),
    ]
    record = judged(events, [sound(400.0)])
    assert (record.outcome, record.ttfa_ms) == ("answered", 400.0)
    assert (record.commits, record.commit_delay_ms) == (2, 200.0)  # of the turn that was answered


def test_a_turn_reopened_before_anything_was_heard_is_no_cutoff_and_is_counted() -> None:
    events = [
        committed(-400.0),
        event(Dropped, -200.0, reason="reopened"),
        committed(250.0, revision=1),
        heard(),
        ended(),
    ]
    record = judged(events, [sound(300.0)])
    assert (record.outcome, record.reopened, record.commits) == ("answered", 1, 1)
    assert (record.ttfa_ms, record.commit_delay_ms) == (300.0, 250.0)


def test_a_turn_reopened_after_something_was_heard_is_a_cutoff() -> None:
    events = [committed(-400.0), event(Dropped, -200.0, reason="reopened"), committed(250.0, revision=1), heard()]
    assert judged(events, [sound(-300.0, tone(0.05)), sound(300.0)]).outcome == "cutoff"


@pytest.mark.parametrize("opening", ["Um, it is on.", "Hmm. It is on.", "Let me see, it is on.", "One moment...", "Uh"])
def test_a_filler_wins_no_time(opening: str) -> None:
    record = judged([committed(200.0), heard(), ended(text=opening)], [sound(300.0)])
    assert (record.outcome, record.ttfa_ms, record.why) == ("missed", None, "opened by a filler")


@pytest.mark.parametrize(
    "opening",
    ["Hold on to your hat.", "Umbrellas help.", "Erin is here.", "One moment of joy is enough.", "Sure, it is on."],
)
def test_words_that_begin_like_fillers_are_answers(opening: str) -> None:
    assert judged([committed(200.0), heard(), ended(text=opening)], [sound(300.0)]).outcome == "answered"


def test_a_click_wins_no_time() -> None:
    click = np.concatenate([tone(0.003), np.zeros(8000, np.float32), tone(1.0)])
    record = judged([committed(200.0), heard(), ended()], [sound(250.0, click)])
    assert (record.outcome, record.why) == ("missed", "opened by a click")


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([], "it took no turn"),
        ([committed(300.0), ended(status="no_speech", text="")], "it understood no words"),
        ([committed(300.0), heard()], "no audible answer in time"),
    ],
)
def test_no_answer_is_a_miss_and_says_where_it_ended(events: list[Event], why: str) -> None:
    record = judged(events)
    assert (record.outcome, record.why) == ("missed", why)
    assert record.word_errors == (0 if record.heard else 6)


def test_a_broken_engine_is_a_failure_even_if_an_apology_was_heard() -> None:
    events = [
        committed(200.0),
        heard(),
        event(ErrorEvent, 400.0, stage="llm", code="EngineFailed", message="it broke"),
        ended(status="failed", text=""),
    ]
    record = judged(events, [sound(600.0)])
    assert (record.outcome, record.why, record.ttfa_ms) == ("failed", "llm: EngineFailed", None)
    assert record.words is None


def test_a_broken_session_is_a_failure_and_its_words_are_not_counted() -> None:
    record = judged(failure="the session broke: OSError: gone")
    assert (record.outcome, record.words) == ("failed", None)
    assert "gone" in record.why


@pytest.mark.parametrize(
    ("events", "pieces", "outcome"),
    [
        ([], [], "quiet"),
        ([event(SpeechStarted, -500.0, at_s=1.0)], [], "quiet"),
        ([committed(-200.0), ended(status="no_speech", text="")], [], "false_start"),
        ([heard("thank you")], [], "false_start"),
        ([], [sound(500.0)], "false_start"),
    ],
    ids=["nothing", "a sound that came to nothing", "a turn", "words", "an answer"],
)
def test_noise_must_start_no_turn(events: list[Event], pieces: list[Piece], outcome: str) -> None:
    record = judged(events, pieces, speech=False)
    assert (record.outcome, record.ttfa_ms, record.commit_delay_ms, record.words) == (outcome, None, None, None)


def test_a_finished_recording_has_no_commit_delay_and_cannot_be_cut_off() -> None:
    record = judged([committed(-1.0), heard(), ended()], [sound(500.0)], live=False)
    assert (record.outcome, record.ttfa_ms, record.commit_delay_ms) == ("answered", 500.0, None)


def test_the_waterfall_is_relative_to_the_ground_truth() -> None:
    at = {name: ZERO_S + ms / 1000 for name, ms in (("vad_stop_s", 60), ("stt_s", 150), ("first_token_s", 180),
                                                   ("first_clause_s", 220), ("first_audio_s", 260))}  # fmt: skip
    timings = Timings(**at, commit_s=ZERO_S + 9, speech_end_s=ZERO_S + 9, audible_s=ZERO_S + 0.4)
    stages = judged([committed(200.0), heard(), ended(timings=timings)], [sound(400.0)]).stages
    assert (stages.vad_stop_ms, stages.commit_ms, stages.stt_ms) == (60.0, 200.0, 150.0)
    assert (stages.first_token_ms, stages.first_clause_ms, stages.first_audio_ms) == (180.0, 220.0, 260.0)
    assert stages.audible_ms == 400.0


def test_a_subject_that_tells_no_timings_has_the_stages_that_its_events_show() -> None:
    events = [
        event(SpeechStopped, 80.0, at_s=2.0),
        heard(at_ms=300.0),
        event(TextDeltaEvent, 350.0, text="It is "),
        event(TextDeltaEvent, 400.0, text="on."),
    ]
    record = judged(events, [sound(600.0)])
    assert record.reply == "It is on."
    assert (record.outcome, record.commit_delay_ms) == ("answered", None)
    stages = record.stages
    assert (stages.vad_stop_ms, stages.commit_ms, stages.stt_ms) == (80.0, None, 300.0)
    assert (stages.first_token_ms, stages.first_clause_ms, stages.audible_ms) == (350.0, None, 600.0)


def test_gaps_in_the_reply_are_underruns_until_nobody_listens_any_more() -> None:
    pieces = [sound(300.0), sound(1500.0), sound(4000.0)]
    record = judged([committed(200.0), heard(), ended()], pieces, hurried_s=ZERO_S + 2.0)
    assert (record.underruns, record.underrun_ms) == (1, pytest.approx(200.0))
    assert record.reply_s == 3.0


def test_speculation_is_told_from_the_report_and_else_from_the_revisions() -> None:
    base = [event(Speculated, 50.0, revision=1), committed(200.0, revision=1), heard()]
    assert judged([event(Speculated, 50.0, revision=0), committed(200.0, revision=1), heard()]).speculation_hit is False
    assert judged(base).speculation_hit is True
    assert judged([committed(200.0), heard()]).speculation_hit is None
    record = judged([*base, ended(speculation=_report(hit=False, wasted_s=0.25))])
    assert (record.speculation_hit, record.wasted_s, record.speculations) == (False, 0.25, 1)


def _report(**fields: Any) -> Any:
    from antiphon.pipeline.speculation import SpeculationReport

    return SpeculationReport(**fields)
