"""From a model's deltas to spoken words, with anything in them: nothing lost, nothing twice, however it is chunked."""

from __future__ import annotations

import itertools
import re
import time
import unicodedata
from collections.abc import Iterator
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from antiphon.engines.protocols import WordCue
from antiphon.pipeline.text import Lexicon, make_speakable, make_splitter
from antiphon.pipeline.text.completeness import judge
from antiphon.pipeline.voice_types import get_sentence_based_splitter

FEW = settings(max_examples=200, deadline=None)
LANGUAGES = st.sampled_from(["en", "en-GB", "de", "fr", "es", "ja", "ar", None])
CHUNKS = st.lists(st.integers(1, 9), min_size=1, max_size=6)
LEXICON = Lexicon({"SQL": "sequel", "ü": "ue", "$": "dollar", "qzqz": "twice twice"})

# Between words: signs that make no word of their own and take none away, but that may join, split and confuse.
BETWEEN = st.sampled_from(
    (" ", "  ", "\n", "\n\n", "\t", ", ", ". ", "? ", "! ", "; ", ": ", " - ", " — ", "... ", "… ", " \u200b", "\u00a0",
     " \u0301", " \u202e", " \u202c", " \u200f", " \ufeff", " \0", " \x07", " \ud800", " \udfff", " \ufffd", " 😀 ",
     " 👩‍👩‍👧 ", " 🇩🇪 ", " (", ") ", ' "', '" ', " “", "” ", " * ", "\n- ", "\n1. ", "\n# ", "。", "، ", " ۔ ", "।  ",
     " \u2028", " \u0085", "\r\n")
)  # fmt: skip
WORDS = st.text("bcdfgklmprtvz", min_size=5, max_size=12)  # no vowels: no abbreviation, unit, numeral or word we know
LONG = st.integers(200, 3000).map(lambda length: "kt" * (length // 2))
RTL = st.sampled_from(["مرحبا", "שלום", "नमस्ते", "สวัสดี"])
ANYTHING = st.one_of(
    st.text(max_size=80),
    st.text(st.characters(categories=["Mn", "Mc", "Cf", "Cc", "Cs", "Co"]), max_size=30),
    st.sampled_from(
        ["```", "`", "[a](", "](http://x.y/z_(q))", "<b", "<!--", "-->", "&#x110000;", "&amp", "$1,2", "1/2/3",
         "e.g", "Dr", "http://", "www.", "a@b", "\\", "\\(", "$$", "| a |", "~~", "==", "___", "1e999", "٣٫١٤", "½⅓",
         "10:30:99", "Ⅷ", "MMMM", "v1.2.3.4.5", "+49 (0) 30", "\u0301\u0301\u0301", "\u202e123", "\ue000\uf8ff",
         "🏳️‍🌈" * 5, "x" * 500, "9" * 400, "." * 200, "(" * 200, "*" * 200, "_" * 200, "[" * 200, "&" * 200, "<" * 200]
    ),
)  # fmt: skip
ANY_TEXT = st.lists(ANYTHING, max_size=8).map("".join)


def chunks(text: str, sizes: list[int]) -> Iterator[str]:
    at = 0
    for size in itertools.cycle(sizes):
        if at >= len(text):
            return
        yield text[at : at + size]
        at += size


def spoken(text: str, sizes: list[int], language: str | None, *, stalls: str = "") -> tuple[list[str], list[str]]:
    """(pieces, what is said of each)."""
    splitter, speakable = make_splitter(language), make_speakable(language, lexicon=LEXICON)
    pieces: list[str] = []
    waits = itertools.cycle(stalls or "-")
    for delta in chunks(text, sizes):
        pieces += splitter.push(delta)
        match next(waits):
            case "s":
                pieces += splitter.stall()
            case "h":
                pieces += splitter.hurry()
    pieces += splitter.finish()
    return pieces, [speakable(piece) for piece in pieces]


@settings(FEW, max_examples=300)
@given(ANY_TEXT, CHUNKS, LANGUAGES)
@example("e\u0301" * 600, [1], "en")
@example("\ud83d\ude00 a. b", [1], "en")
@example("a" * 5000, [7], None)
def test_chunks_make_no_difference(text: str, sizes: list[int], language: str | None) -> None:
    pieces, said = spoken(text, sizes, language)
    assert "".join(pieces) == text
    assert spoken(text, [max(1, len(text))], language) == (pieces, said)


@settings(FEW, max_examples=300)
@given(ANY_TEXT, CHUNKS, LANGUAGES, st.text("sh-", min_size=1, max_size=6))
def test_with_stalls_nothing_is_lost_and_all_of_it_is_fit_to_speak(
    text: str, sizes: list[int], language: str | None, stalls: str
) -> None:
    pieces, said = spoken(text, sizes, language, stalls=stalls)
    assert "".join(pieces) == text and all(pieces)
    for words in said:
        assert words == words.strip()
        assert words == "" or any(map(str.isalnum, words))
        assert not any(unicodedata.category(char) in ("Cc", "Cs", "Co") for char in words)


@st.composite
def marked_text(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Words, each unlike any other, with all kinds of things between them."""
    words = draw(st.lists(st.one_of(WORDS, WORDS, WORDS, LONG), min_size=1, max_size=25, unique=True))
    told = [f"{word}{index:b}".translate({48: "k", 49: "t"}) for index, word in enumerate(words)]
    gaps = [draw(BETWEEN | RTL.map(lambda word: f" {word} ")) for _ in told]
    return "".join(itertools.chain.from_iterable(zip(told, gaps, strict=True))), told


@settings(FEW, max_examples=250)
@given(marked_text(), CHUNKS, LANGUAGES, st.text("sh-", min_size=1, max_size=6))
def test_every_word_is_said_once_and_in_order(
    marked: tuple[str, list[str]], sizes: list[int], language: str | None, stalls: str
) -> None:
    text, told = marked
    _, said = spoken(text, sizes, language, stalls=stalls)
    heard = re.findall(r"[bcdfgklmprtvz]{5,}", "".join(said))  # a very long word may be said in pieces
    assert "".join(heard) == "".join(told), text


@FEW
@given(ANY_TEXT, st.integers(0, 40), CHUNKS)
def test_the_splitter_of_users_of_agents_voice_loses_nothing(text: str, least: int, sizes: list[int]) -> None:
    split = get_sentence_based_splitter(least)
    kept, said = "", []
    for delta in chunks(text, sizes):
        now, kept = split(kept + delta)
        said.append(now)
    said.append(kept)
    assert "".join("".join(said).split()) == "".join(text.split())


@FEW
@given(ANY_TEXT, LANGUAGES)
def test_any_turn_of_the_user_can_be_judged(text: str, language: str | None) -> None:
    judged = judge(text, language)
    assert judged == judge(text, language) and judged.words in get_args(WordCue)


@pytest.mark.parametrize(
    "unit",
    ["\u0301", "\ud800", "\u202eا", "((", "[x](", "`", "_a", "*", "<a ", "&#", "1/", "a.", "😀\u200d", "$", "www."],
)
def test_odd_text_costs_no_more_than_its_length(unit: str) -> None:
    """Ten times as long: 100 times the work, if it were quadratic."""

    def cost_s(length: int) -> float:
        text = unit * (length // len(unit))
        began_s = time.process_time()
        spoken(text, [64], "en")
        return time.process_time() - began_s

    cost_s(100)
    # The best of some tries: a busy machine makes single ones slow.
    ratios = (cost_s(20_000) / max(cost_s(2_000), 0.001) for _ in range(4))
    assert any(ratio < 40 for ratio in ratios)
