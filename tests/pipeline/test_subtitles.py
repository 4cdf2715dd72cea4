"""Transcripts as text, JSON, SRT and WebVTT."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.protocols import Transcript, Word
from antiphon.pipeline.subtitles import SUFFIXES, SubtitleFormat, cues, render, to_srt, to_vtt

TIMED = Transcript(
    "Ask not. What your country",
    words=(
        Word("Ask", 0.5, 0.7, 0.9),
        Word("not.", 0.7, 1.25, 0.8),
        Word("What", 3.0, 3.2, 0.95),
        Word("your", 3.2, 3.4),
        Word("country", 3.4, 3.9),
    ),
    language="en",
    average_logprob=-0.123456,
)

words = st.lists(
    st.tuples(st.text("abc.?!", min_size=1, max_size=12), st.floats(0, 2), st.floats(0, 2)), min_size=1, max_size=60
)


def timed(parts: list[tuple[str, float, float]]) -> tuple[Transcript, float]:
    now, out = 0.0, []
    for text, gap, length in parts:
        out.append(Word(text, now + gap, now + gap + length))
        now += gap + length
    return Transcript(" ".join(text for text, _, _ in parts), words=tuple(out)), now + 1.0


@given(words)
def test_cues_hold_every_word_once_in_order(parts: list[tuple[str, float, float]]) -> None:
    transcript, duration_s = timed(parts)
    assert " ".join(cue.text for cue in cues(transcript, duration_s)) == transcript.text


@given(words)
def test_cues_do_not_overlap_and_stay_short(parts: list[tuple[str, float, float]]) -> None:
    transcript, duration_s = timed(parts)
    found = cues(transcript, duration_s)
    assert all(cue.start_s < cue.end_s for cue in found)
    assert all(a.end_s <= b.start_s for a, b in zip(found, found[1:], strict=False))  # noqa: RUF007
    assert all(len(cue.text) <= 84 for cue in found)


@given(words)
def test_subtitles_have_no_empty_line_inside_a_cue(parts: list[tuple[str, float, float]]) -> None:
    transcript, duration_s = timed(parts)
    number_of_cues = len(cues(transcript, duration_s))
    assert len(re.findall(r"^\d\d:\d\d:\d\d,\d{3} --> ", to_srt(transcript, duration_s), re.M)) == number_of_cues
    assert to_srt(transcript, duration_s).count("\n\n") == number_of_cues - 1
    assert to_vtt(transcript, duration_s).count("\n\n") == number_of_cues


def test_srt() -> None:
    assert to_srt(TIMED, 5.0) == (
        "1\n00:00:00,500 --> 00:00:01,250\nAsk not.\n\n2\n00:00:03,000 --> 00:00:03,900\nWhat your country\n"
    )


def test_vtt_escapes_its_markup() -> None:
    found = to_vtt(Transcript("a < b & c --> d"), 2.5)
    assert found == "WEBVTT\n\n00:00:00.000 --> 00:00:02.500\na &lt; b &amp; c --&gt; d\n"


def test_long_cues_have_two_lines() -> None:
    text = "the quick brown fox jumps over the lazy dog and then goes home to sleep"
    shown = to_srt(Transcript(text), 5.0).splitlines()[2:]
    assert " ".join(shown) == text
    assert [len(line) <= 42 for line in shown] == [True, True]


def test_json_has_the_facts_and_the_extra_keys_first() -> None:
    found = json.loads(render(TIMED, "json", 5.0, {"file": "a.wav"}))
    assert list(found)[:2] == ["file", "text"]
    assert found["words"][0] == {"text": "Ask", "start_s": 0.5, "end_s": 0.7, "probability": 0.9}
    assert (found["average_logprob"], found["language_probability"], found["duration_s"]) == (-0.1235, None, 5.0)


def test_json_keeps_letters_as_they_are_and_stays_on_one_line() -> None:
    rendered = render(Transcript("grüß\ndich"), "json", 1.0)
    assert "grüß" in rendered
    assert rendered.count("\n") == 1


@pytest.mark.parametrize(("kind", "expected"), [("text", "\n"), ("srt", ""), ("vtt", "WEBVTT\n")])
def test_an_empty_transcript(kind: SubtitleFormat, expected: str) -> None:
    assert render(Transcript(""), kind, 3.0) == expected


def test_times_go_past_an_hour() -> None:
    late = Transcript("x", words=(Word("x", 3723.4567, 363_599.9996),))
    assert "01:02:03,457 --> 101:00:00,000" in to_srt(late, 400_000.0)


def test_every_format_has_its_suffix() -> None:
    assert dict(SUFFIXES) == {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt"}
