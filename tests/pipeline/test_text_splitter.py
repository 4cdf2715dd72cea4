"""The clause splitter: nothing lost, the same cuts however the text is chunked, and a table of hard cases."""

from __future__ import annotations

import re
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.pipeline.text import make_splitter

_HARD = (
    *("Dr", "e.g", "U.S", "a.m", "No", "Main St", "J", "1", "3", "10:30", "$1,200.50", "http://a.b/c?d=e.", "x@y.org"),
    *(". ", ", ", "; ", ": ", "? ", "! ", "... ", "… ", "?!", ".", ",", ":", "\n", "\n\n", " ", "  ", "\r\n", "\t"),
    *(" - ", " — ", "—", "-", "[", "](", "]", "(", ")", '"', "”", "'", "*", "**", "_", "`", "```", "# ", "| ", "- "),
    *(
        " and ",
        " which ",
        "the",
        "The",
        "house",
        "Émile",
        "iPhone",
        "你好",
        "。",
        "、",
        "！",
        "¿",
        "¡",
        "؟",
        "😀",
        "\u200d",
    ),
    *("1. ", "2. ", "a" * 70, "word " * 12, " " * 40, "!" * 20),
)
_texts = st.lists(st.sampled_from(_HARD), max_size=40).map("".join) | st.text(max_size=200)
_languages = st.sampled_from(["en", "en-GB", "de", "fr", "es", "ja", None])


def cut(
    text: str, sizes: list[int] | None = None, *, language: str | None = "en", first_clause: bool = True
) -> list[str]:
    """All pieces of a text that comes in chunks of these sizes, in turn; without sizes at once."""
    splitter = make_splitter(language, first_clause=first_clause)
    pieces: list[str] = []
    at = turn = 0
    while at < len(text):
        size = sizes[turn % len(sizes)] if sizes else len(text)
        pieces += splitter.push(text[at : at + size])
        at += size
        turn += 1
    return pieces + splitter.finish()


@settings(max_examples=400, deadline=None)
@given(_texts, st.lists(st.integers(1, 12), min_size=1, max_size=8), _languages, st.booleans())
def test_nothing_lost_and_the_same_pieces_however_chunked(
    text: str, sizes: list[int], language: str | None, first_clause: bool
) -> None:
    whole = cut(text, language=language, first_clause=first_clause)
    assert "".join(whole) == text
    assert all(whole)
    assert cut(text, sizes, language=language, first_clause=first_clause) == whole
    assert cut(text, [1], language=language, first_clause=first_clause) == whole


@settings(max_examples=300, deadline=None)
@given(st.lists(_texts, max_size=6), st.lists(st.booleans(), max_size=6), st.booleans())
def test_nothing_lost_when_the_text_stalls(deltas: list[str], stalls: list[bool], first_clause: bool) -> None:
    splitter = make_splitter("en", first_clause=first_clause)
    pieces: list[str] = []
    for index, delta in enumerate(deltas):
        pieces += splitter.push(delta)
        if stalls[index : index + 1] == [True]:
            pieces += splitter.stall()
    pieces += splitter.finish()
    assert "".join(pieces) == "".join(deltas)
    assert all(pieces)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        # the first clause: two words or eight characters before a mark
        ("Certainly, here it is.", ["Certainly,", " here it is."]),
        ("Sure, I can help with that, of course.", ["Sure, I can help with that,", " of course."]),
        ("Of course! Let me see.", ["Of course!", " Let me see."]),
        ("I see; so be it.", ["I see;", " so be it."]),
        ("Half done — not all.", ["Half done —", " not all."]),
        ("Half done—not all.", ["Half done—", "not all."]),
        ("That is it - I think.", ["That is it -", " I think."]),
        ("Yes. It is so.", ["Yes. It is so."]),
        # six words before a conjunction
        ("The dog ran home over the hill and slept", ["The dog ran home over the hill", " and slept"]),
        ("The dog ran home and slept", ["The dog ran home and slept"]),
        ("The dog ran home over the hill android slept", ["The dog ran home over the hill android slept"]),
        # numbers, times, addresses
        ("It is 3.5 or 1,200 or 10:30, right?", ["It is 3.5 or 1,200 or 10:30,", " right?"]),
        ("That was $1,200.50. It was cheap.", ["That was $1,200.50.", " It was cheap."]),
        ("See https://a.org/x.y?z=1,2 now. Bye then.", ["See https://a.org/x.y?z=1,2 now.", " Bye then."]),
        ("Mail j.doe@mail.example.com today. Bye.", ["Mail j.doe@mail.example.com today.", " Bye."]),
        ("Open main.py. Then config.yaml.", ["Open main.py.", " Then config.yaml."]),
        ("Use version 2.0.1. It works.", ["Use version 2.0.1.", " It works."]),
        ("The range 3 - 5 is fine.", ["The range 3 - 5 is fine."]),
        ("Count 1990—1995 in all.", ["Count 1990—1995 in all."]),
        # abbreviations
        ("It was Dr. Smith and Mr. Brown. They left.", ["It was Dr. Smith and Mr. Brown.", " They left."]),
        ("Take fruit, e.g. plums. Eat them now.", ["Take fruit,", " e.g. plums.", " Eat them now."]),
        ("In the U.S. Army it was. So it is.", ["In the U.S. Army it was.", " So it is."]),
        ("He left the U.S. The army stayed.", ["He left the U.S.", " The army stayed."]),
        ("We met at 9 a.m. Bring your own tea.", ["We met at 9 a.m.", " Bring your own tea."]),
        ("We met at 9 a.m. yesterday. Good.", ["We met at 9 a.m. yesterday.", " Good."]),
        ("We met at 9 a.m. EST today. Good.", ["We met at 9 a.m. EST today.", " Good."]),
        ("By J. K. Rowling it was. Good.", ["By J. K. Rowling it was.", " Good."]),
        ("It is No. 5 now. Good.", ["It is No. 5 now.", " Good."]),
        ("I said no. That is all.", ["I said no.", " That is all."]),
        ("Apples, pears, etc. are here. Bye.", ["Apples, pears,", " etc. are here.", " Bye."]),
        # ellipsis, repeated marks, quotes, brackets, emphasis
        ("Well then... I think so. Yes.", ["Well then...", " I think so.", " Yes."]),
        ("What is it?! Nobody knows.", ["What is it?!", " Nobody knows."]),
        ('"Yes, it is." he said. Good.', ['"Yes, it is."', " he said.", " Good."]),
        ("“Come in!” (It was cold.) He came.", ["“Come in!”", " (It was cold.)", " He came."]),
        ("**All is well.** Come in.", ["**All is well.**", " Come in."]),
        (
            "See [the docs. Good ones](https://a.b/c.d) for it. Bye.",
            ["See [the docs. Good ones](https://a.b/c.d) for it.", " Bye."],
        ),
        # lines
        ("1. Milk\n2. Bread\n3. Eggs", ["1. Milk", "\n2. Bread", "\n3. Eggs"]),
        ("- Milk\n- Bread", ["- Milk", "\n- Bread"]),
        ("1) Milk\n2) Bread", ["1) Milk", "\n2) Bread"]),
        ("Do it: 1. Boil. 2. Stir it.", ["Do it:", " 1. Boil.", " 2. Stir it."]),
        ("# Title\nsome text here", ["# Title", "\nsome text here"]),
        ("It goes on\nin the next line", ["It goes on\nin the next line"]),
        ("One paragraph\n\nand another", ["One paragraph", "\n\nand another"]),
        ("First line\nSecond line", ["First line", "\nSecond line"]),
        # sentences after the first: short ones wait for the next, from the third piece on
        ("Fine now. No. Yes. No. It is a longer one.", ["Fine now.", " No.", " Yes. No. It is a longer one."]),
        ("Oh no, he said it, she said it. Right.", ["Oh no,", " he said it, she said it.", " Right."]),
        # nothing to say
        ("", []),
        (" \n", [" \n"]),
        ("...", ["..."]),
    ],
)  # fmt: skip
def test_english(text: str, pieces: list[str]) -> None:
    assert cut(text) == pieces
    assert cut(text, [1]) == pieces


@pytest.mark.parametrize(
    ("language", "text", "pieces"),
    [
        ("zh", "你好，世界。天气很好！我们去玩吧？好。", ["你好，世界。", "天气很好！", "我们去玩吧？好。"]),
        ("ja", "はい、そうですね。「行こう。」と言った。", ["はい、そうですね。", "「行こう。」", "と言った。"]),
        ("es", "¿Cómo estás? ¡Muy bien!¿Y tú?", ["¿Cómo estás?", " ¡Muy bien!", "¿Y tú?"]),
        (
            "de",
            "Am 5. Mai kam Dr. Meier. Er blieb z.B. hier. Gut.",
            ["Am 5. Mai kam Dr. Meier.", " Er blieb z.B. hier.", " Gut."],
        ),
        ("fr", "C'est vrai ! Oui, M. Dupont est là.", ["C'est vrai !", " Oui, M. Dupont est là."]),
        ("ar", "مرحبا بكم، كيف حالك؟ أنا بخير.", ["مرحبا بكم،", " كيف حالك؟", " أنا بخير."]),
        ("hi", "यह अच्छा है। वह भी।", ["यह अच्छा है।", " वह भी।"]),
        (None, "It was Dr. Smith. He left.", ["It was Dr. Smith.", " He left."]),
    ],
)  # fmt: skip
def test_other_languages(language: str | None, text: str, pieces: list[str]) -> None:
    assert cut(text, language=language) == pieces
    assert cut(text, [1], language=language) == pieces


def test_whole_sentences_from_the_start_if_asked() -> None:
    text = "Of course, it is so. Yes. And so on, and so on."
    assert cut(text, first_clause=False) == ["Of course, it is so.", " Yes.", " And so on, and so on."]


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("Of course,", " "),  # a comma needs to know that no digit follows it
        ("Of course.", " "),
        ("Of course!", " "),
        ("Of course —", " y"),
        ("One line", "\nT"),
        ("It is 9 a.m.", " Then "),  # only here is the whole next word needed
    ],
)
def test_the_first_piece_comes_as_soon_as_it_is_sure(text: str, needs: str) -> None:
    splitter = make_splitter("en")
    assert splitter.push(text) == []
    assert splitter.push(needs[:-1]) == []
    assert splitter.push(needs[-1]) == [text]


def test_a_full_stop_is_no_end_before_what_follows_is_known() -> None:
    splitter = make_splitter("en")
    assert splitter.push("It costs 3") + splitter.push(".") + splitter.push("5 euros") == []
    assert splitter.push(". Then") == ["It costs 3.5 euros."]


def test_long_sentences_are_cut_at_clauses_then_at_words() -> None:
    clauses = "Now then, " + "here is a clause of some length, " * 20
    pieces = cut(clauses)
    assert all(len(piece) <= 240 for piece in pieces)
    assert len(pieces[1]) <= 100
    assert all(piece.rstrip().endswith(",") for piece in pieces)
    words = "word " * 400
    assert all(len(piece) <= 246 and not piece.startswith("ord") for piece in cut(words))
    assert [len(piece) for piece in cut("x" * 2500)] == [1000, 1000, 500]


def test_a_long_run_is_not_cut_within_a_character() -> None:
    text = "e\u0301" * 1200
    assert all(not piece.startswith("\u0301") for piece in cut(text))


@pytest.mark.parametrize(
    ("text", "released"),
    [
        ("Let me think about", ["Let me think"]),  # the last word may go on
        ("Let me think ", ["Let me think"]),
        ("Well", []),
        ("Well ", []),
        ("Let me look that up.", ["Let me look that up."]),
        ("Yes.", ["Yes."]),
        ("It costs 3.", ["It costs"]),  # 3.5 may come
        ("It was Dr.", ["It was"]),
        ("It was Dr. ", ["It was"]),
        ("See [the long title of", []),
        ("   ", []),
    ],
)
def test_a_stall_before_the_first_piece(text: str, released: list[str]) -> None:
    splitter = make_splitter("en")
    assert splitter.push(text) == []
    assert splitter.stall() == released
    assert "".join(released) + "".join(splitter.finish()) == text


@pytest.mark.parametrize(
    ("text", "released"),
    [
        (" And some more words", []),  # no clause is waiting
        (" And more, but then", [" And more,"]),
        (" Yes. And then", [" Yes."]),  # was waiting for a longer one
        (" It is.", [" It is."]),
        (" It costs 3.", []),
        (" See [the docs, the", []),
    ],
)
def test_a_stall_later(text: str, released: list[str]) -> None:
    splitter = make_splitter("en")
    assert splitter.push("Of course, it is so." + text) == ["Of course,", " it is so."]
    assert splitter.stall() == released
    assert "".join(released) + "".join(splitter.finish()) == text


@pytest.mark.parametrize(
    ("text", "released"), [("Let me think ", []), ("Of course, it", []), ("Of course, it is.", ["Of course, it is."])]
)
def test_a_stall_where_whole_sentences_are_asked_for(text: str, released: list[str]) -> None:
    splitter = make_splitter("en", first_clause=False)
    assert splitter.push(text) == []
    assert splitter.stall() == released


def test_a_splitter_is_new_after_finish() -> None:
    splitter = make_splitter("en")
    for _ in range(2):
        assert splitter.push("Of course, it is. 1. Two") == ["Of course,", " it is."]
        assert splitter.finish() == [" 1. Two"]
        assert splitter.stall() == []


@pytest.mark.parametrize("unit", ["a", "a. ", ", ", "!", "U.S. ", " ", "\n", "[", "](", "—", "Dr. ", "1. ", "好", '."'])
@pytest.mark.parametrize("size", [1, None])
def test_time_is_linear(unit: str, size: int | None) -> None:
    def cost(length: int) -> float:
        text = (unit * length)[:length]
        best = float("inf")
        for _ in range(2):
            start = time.process_time()
            cut(text, [size] if size else None)
            best = min(best, time.process_time() - start)
        return best

    costs = [max(cost(length), 0.005) for length in (3_000, 24_000)]
    assert all(later < 40 * earlier for earlier, later in pairwise(costs)), "eight times the text, quadratic is 64"


@pytest.mark.parametrize(
    ("text", "hurried"),
    [
        ("I am ready to assist you with any", ["I am ready to assist you"]),  # not "with"
        ("The answer to your", []),
        ("The time is 10", []),
        ("Paris is", []),
        ("The Brooklyn Bridge opened in 18", ["The Brooklyn Bridge opened"]),  # not "in"
        ("The child was hurt by the small dog to", ["The child was hurt by the small dog"]),
        ("It costs about $5 bill", []),
        ("Meet me there at 3:30 p", ["Meet me there"]),
        ("See [the long page about it", []),
        ("", []),
    ],
)
def test_words_that_are_spoken_when_the_first_clause_takes_long(text: str, hurried: list[str]) -> None:
    splitter = make_splitter("en")
    pushed = [piece for word in re.findall(r"\s*\S+", text) for piece in splitter.push(word)]
    assert pushed == []
    assert splitter.hurry() == hurried
    assert not hurried or splitter.hurry() == []
    assert "".join([*hurried, *splitter.finish()]) == text
