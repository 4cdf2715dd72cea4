"""From seconds of audio to words of text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.audio import AudioFrame
from antiphon.engines.protocols import SpeechChunk, Word
from antiphon.pipeline.heard import HeardText

RATE_HZ = 1000


def chunk(seconds: float, start: int, end: int, words: list[tuple[str, float, float]] | None, at_s: float = 0.0):  # type: ignore[no-untyped-def]
    frame = AudioFrame(np.zeros(round(seconds * RATE_HZ), dtype=np.float32), RATE_HZ, at_s)
    timed = None if words is None else tuple(Word(text, one, other) for text, one, other in words)
    return SpeechChunk(frame, start, end, timed)


def test_words_with_times_are_heard_when_they_end() -> None:
    text = "One two three."
    book = HeardText()
    book.piece(text, text)
    book.chunk(chunk(1.0, 0, 7, [("One", 0.1, 0.4), ("two", 0.5, 0.9)]), 0.0)
    book.chunk(chunk(1.0, 7, 14, [("three.", 1.1, 1.8)], at_s=1.0), 1.0)
    book.finish()
    heard = [text[: book.chars(seconds)] for seconds in (0.0, 0.3, 0.4, 0.8, 0.9, 1.7, 1.76, 2.0)]
    assert heard == ["", "", "One", "One", "One two", "One two", text, text]


def test_where_the_engine_knows_no_times_words_last_as_long_as_they_are() -> None:
    book = HeardText()
    book.piece("abcd efgh", "abcd efgh")
    book.chunk(chunk(0.9, 0, 9, None), 0.0)
    assert [book.chars(seconds) for seconds in (0.3, 0.4, 0.8, 0.9)] == [0, 4, 4, 9]


def test_what_is_said_otherwise_than_written_is_counted_in_words() -> None:
    text, spoken = " Dr. No, 25 km.", "Doctor No, twenty five kilometers."
    book = HeardText()
    book.piece(text, spoken)
    book.chunk(chunk(5.0, 0, len(spoken), None), 0.0)
    book.finish()
    for tenths in range(50):
        part = text[: book.chars(tenths / 10)]
        assert part in ("", " Dr.", " Dr. No,", " Dr. No, 25", text)
    assert book.chars(5.0) == len(text)


def test_pieces_follow_one_another_and_what_has_no_sound_goes_with_the_next() -> None:
    book = HeardText()
    book.piece("One.", "One.")
    book.chunk(chunk(1.0, 0, 4, None), 0.0)
    book.piece(" \N{EM DASH} ", "")
    book.piece("Two.", "Two.")
    book.chunk(chunk(1.0, 0, 4, None), 1.0)
    book.finish()
    assert [book.chars(seconds) for seconds in (0.5, 1.0, 1.5, 2.0)] == [0, 7, 7, 11]


def test_audio_that_was_not_handed_over_was_not_heard() -> None:
    book = HeardText()
    assert book.chars(9.0) == 0
    book.piece("One two.", "One two.")
    assert book.chars(9.0) == 0
    book.chunk(chunk(0.5, 0, 3, [("One", 0.0, 0.5)]), 0.0)
    assert book.chars(9.0) == 3, "the rest of the piece has no audio yet"


@given(st.lists(st.text(st.sampled_from("ab .,"), min_size=1, max_size=12), min_size=1, max_size=5), st.floats(0, 20))
def test_never_more_than_there_is_and_never_less_later(texts: list[str], seconds: float) -> None:
    book, at_s = HeardText(), 0.0
    for text in texts:
        spoken = text.strip()
        book.piece(text, spoken)
        if spoken:
            book.chunk(chunk(1.0, 0, len(spoken), None), at_s)
            at_s += 1.0
    book.finish()
    whole = "".join(texts)
    assert 0 <= book.chars(seconds) <= book.chars(seconds + 0.5) <= len(whole)
    if any(text.strip() for text in texts) and texts[-1].strip():
        assert book.chars(at_s) == pytest.approx(len(whole))
