"""Speakable text: a table of hard cases, plain prose untouched, any Unicode taken, time linear."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.pipeline.text import Lexicon, make_speakable, make_splitter


def say(text: str, language: str | None = "en", **options: str) -> str:
    return make_speakable(language, **options)(text)  # type: ignore[arg-type]


_words = st.text("abcdefghijklmnopqrstuvwxyz", min_size=2, max_size=9).filter(
    lambda word: word not in {"st", "no", "vs", "dr", "eq", "ch", "pp", "ca", "co"}
)


@st.composite
def _sentences(draw: st.DrawFn) -> str:
    words = draw(st.lists(_words, min_size=1, max_size=14))
    marks = draw(st.lists(st.sampled_from(["", "", "", ",", ";", ":"]), min_size=len(words), max_size=len(words)))
    marks[-1] = draw(st.sampled_from([".", "!", "?", ",", ""]))
    body = " ".join(word + mark for word, mark in zip(words, marks, strict=True))
    return draw(st.sampled_from(["{}", '"{}"', "It's {}", "Well-known {}"])).format(body)


@settings(max_examples=300, deadline=None)
@given(st.lists(_sentences(), min_size=1, max_size=4).map(" ".join), st.sampled_from(["en", "de", None]))
def test_plain_prose_is_left_alone(text: str, language: str | None) -> None:
    assert say(f" {text} ", language) == text


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.text(max_size=60) | st.sampled_from(["```", "[", "](", "http://", "$1", "&#x110000;", "\ue000", "\ud800"])
    ),
    st.sampled_from(["en", "de", "zh", None]),
    st.sampled_from(["domain", "full", "skip"]),
)
def test_any_unicode_is_taken(pieces: list[str], language: str | None, urls: str) -> None:
    speakable = make_speakable(language, lexicon={"a": "ay", "ı": "x", "ß": "ss", "1": "one"}, urls=urls)
    for piece in pieces:
        spoken = speakable(piece)
        assert spoken == spoken.strip()
        assert spoken == "" or any(char.isalnum() for char in spoken)
        assert not any(0xD800 <= ord(char) <= 0xF8FF or char in "\n\r\0" for char in spoken)


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        # markdown
        ("# The title\nSome **bold** and *italic* text.", "The title. Some bold and italic text."),
        ("- Milk\n- Bread\n* Eggs\n+ [x] Tea", "Milk. Bread. Eggs. Tea"),
        ("1) Boil it.\n2) Stir it.", "1. Boil it. 2. Stir it."),
        ("> A quoted line\n> goes on", "A quoted line goes on"),
        ("| Name | Age |\n|------|:---:|\n| Bob | 5 |", "Name, Age. Bob, 5"),
        ("See [the docs](https://a.org/x_(y)) and ![a cat](c.png).", "See the docs and a cat."),
        ("[![x](y)](z), [ref][1], so it is [2], [^3].", "x, ref, so it is."),
        ("Run `pip install x_y` now", "Run pip install x y now"),
        ("Above\n\n---\n\nBelow", "Above. Below"),
        ("2 * 3 is *not* 2*3*, a ** b, `c, _d_ and e_", "2 times 3 is not 2 times 3, a b, c, d and e"),
        ("~~gone~~ ==marked== __init__ snake_case", "gone marked init snake case"),
        ("<b>Bold</b> &amp; <a href='x'>linked</a> text<br/>Next", "Bold and linked text. Next"),
        ("x &lt; 5 &nbsp;now", "x is less than 5 now"),
        (r"\*no\* and \(\frac{a}{b} \times 2\) and $y^2$", "no and a over b times 2 and y squared"),
        ("call foo() on item(s) (see below)", "call foo on items, see below"),
        # emoji, quotes, dashes, marks, control characters
        ("Hi 😀 there 👨‍👩‍👧 👍🏽! 1️⃣ 🇩🇪", "Hi there! 1"),
        ("“It’s fine,” she said…", '"It\'s fine," she said...'),
        ("half—done, half – done -- and - so", "half, done, half, done, and, so"),
        ("Wait!!! Really??? And?! So... yes... No", "Wait! Really? And? So, yes. No"),
        ("one\u0007\u200btwo\u00a0three", "onetwo three"),
        ("Open it → Save => done", "Open it, Save, done"),
        # money
        ("$1,200.50 or $1 or $0.50", "1,200 dollars and 50 cents or 1 dollar or 50 cents"),
        ("£3.01, 5 €, ¥500", "3 pounds and 1 penny, 5 euros, 500 yen"),
        (
            "$1.5 million, $20k, $5-10, -$5",
            "1.5 million dollars, 20 thousand dollars, 5 to 10 dollars, minus 5 dollars",
        ),
        ("$9.99/month", "9 dollars and 99 cents per month"),
        # times and dates
        ("10:30, 10:05, 10:00, 2:00 PM, 0:00", "10:30, 10 oh 5, 10 o'clock, 2 PM, midnight"),
        ("at 9 a.m. tomorrow, 5:30 p.m.", "at 9 AM tomorrow, 5:30 PM."),
        ("on 2026-11-22 or 11/22/2026", "on November 22, 2026 or November 22, 2026"),
        ("2026-11-22T09:30:00Z, 2026-13-40", "November 22, 2026 at 9:30, 2026-13-40"),
        (
            "in 1883, the 1990s, '80s, 1905-1910",
            "in eighteen eighty-three, the nineteen nineties, eighties, nineteen oh five to nineteen ten",
        ),
        ("Jan. 5, Mon. Sept. 3", "January 5, Monday September 3"),
        # other numbers stay or become words
        ("1,200 and 3.5 and 2nd and 50% and 007", "1,200 and 3.5 and 2nd and 50% and 007"),
        ("3-5 days, 10–20, 50-60%, COVID-19, 3-year-old", "3 to 5 days, 10 to 20, 50 to 60%, COVID-19, 3-year-old"),
        (
            "5 km/h, 20 °C, -5°F, 1 kg, 5-km run",
            "5 kilometers per hour, 20 degrees Celsius, -5 degrees Fahrenheit, 1 kilogram, 5 kilometer run",
        ),
        (
            "1/2, 3/4, 2/3, 1 1/2, 1½, 8/10, 24/7",
            "one half, three quarters, two thirds, 1 and a half, 1 and a half, 8 out of 10, 24 7",
        ),
        (
            "555-123-4567, (555) 123-4567, +44 20 7946 0958",
            "5 5 5, 1 2 3, 4 5 6 7, 5 5 5, 1 2 3, 4 5 6 7, plus 4 4, 2 0, 7 9 4 6, 0 9 5 8",
        ),
        ("v2.0.1, version 2.0.1, 192.168.1.1, .5", "version 2.0.1, version 2.0.1, 192 dot 168 dot 1 dot 1, 0.5"),
        ("3:1, 16:9, 3x, 2x4, 5'10\", 1e-5", "3 to 1, 16 to 9, 3 times, 2 by 4, 5 foot 10, 1 times 10 to the minus 5"),
        (
            "World War II, Henry VIII, Chapter IV, an IV drip",
            "World War two, Henry the eighth, Chapter four, an IV drip",
        ),
        # signs
        (
            "2 + 2 = 4, x >= 5, x<=3, a != b, ~5, ±2",
            "2 + 2 equals 4, x is at least 5, x is at most 3, a is not equal to b, about 5, plus or minus 2",
        ),
        ("R&D & so, and/or, TCP/IP, #1, #tag, C#, C++", "R and D and so, and or, TCP IP, number 1, tag, C sharp, C++"),
        ("/usr/bin, src/main.py, config.yaml", "slash usr slash bin, src slash main.py, config.yaml"),
        # abbreviations
        ("Dr. Smith, Ms. Brown, e.g. this, vs. that", "Doctor Smith, Miz Brown, for example this, versus that"),
        ("the U.S. Army, in the U.K.", "the US Army, in the UK."),
        ("St. Louis, Main St.", "Saint Louis, Main Street."),
        ("J. K. Rowling, No. 5, Apple Inc. said", "J K Rowling, number 5, Apple Inc said"),
        # nothing to say
        ("***", ""),
        ("😀", ""),
        ("...", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_english(text: str, spoken: str) -> None:
    assert say(text) == spoken


@pytest.mark.parametrize(
    ("language", "text", "spoken"),
    [
        (
            "de",
            "A & B, 3-5 Tage, 20 °C, 5 km/h, $5,50, und/oder",
            "A und B, 3 bis 5 Tage, 20 Grad Celsius, 5 Kilometer pro Stunde, 5,50 $, und oder",
        ),
        ("de-AT", "Am 5. Mai, z.B. um 10:30, 1.200,50 €", "Am 5. Mai, z.B. um 10:30, 1.200,50 €"),
        ("fr", "Vraiment ? **Oui** – 10–20 %", "Vraiment? Oui, 10 à 20 %"),
        ("zh", "你好，**世界**。（测试）好😀！", "你好，世界。测试, 好！"),
        (None, "A & B, 3-5, $5, 20 °C, Dr. X", "A & B, 3-5, 5 $, 20 °C, Dr. X"),
        ("en-GB", "on 3/4/2026", "on April 3, 2026"),
    ],
)  # fmt: skip
def test_other_languages(language: str | None, text: str, spoken: str) -> None:
    assert say(text, language) == spoken


# ---------------------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    ("urls", "text", "spoken"),
    [
        ("domain", "See https://www.a-b.org/x_y?q=1. Or (http://c.d/e).", "See a-b.org. Or, c.d."),
        (
            "domain",
            "docs.example.com/a/b and example.com and http://localhost:80/x",
            "docs.example.com and example.com and localhost",
        ),
        ("full", "See https://www.a.org/x_y/z-1.", "See a.org slash x underscore y slash z dash 1."),
        ("skip", "See https://a.org/x now, or example.com.", "See now, or example.com."),
        ("domain", "<https://a.org/x> or **https://b.org/_y_**", "a.org or b.org"),
        ("domain", "Mail j.doe_x@mail.org or mailto:a@b.org", "Mail j dot doe underscore x at mail.org or a at b.org"),
    ],
)  # fmt: skip
def test_urls(urls: str, text: str, spoken: str) -> None:
    assert say(text, urls=urls) == spoken


def test_an_unknown_url_style_is_refused() -> None:
    with pytest.raises(ValueError, match=r"domian.*domain, full, skip"):
        make_speakable("en", urls="domian")


# ---------------------------------------------------------------------------- state between pieces


def test_code_is_replaced_by_one_note() -> None:
    speakable = make_speakable("en")
    pieces = ["Here you go:", "\n```python", "\nprint('hi')", "\n```\nThat is it.", "\n```\nmore", "\n```", "\nEnd."]
    assert [speakable(piece) for piece in pieces] == [
        "Here you go:", "There is code in the text.", "", "That is it.", "", "", "End.",
    ]  # fmt: skip
    assert make_speakable("ja")("```\nx = 1\n```\n次。") == "次。"


def test_backticks_within_a_line_open_no_block() -> None:
    speakable = make_speakable("en")
    assert speakable("```code``` is here") == "code is here"
    assert speakable(" and goes on") == "and goes on"


def test_a_link_may_span_pieces() -> None:
    speakable = make_speakable("en")
    pieces = ("See [the long", " title](http://a.b/c) now.", " x](http://a", "/b) ok")
    assert [speakable(piece) for piece in pieces] == [
        "See the long", "title now.", "x", "ok",
    ]  # fmt: skip


def test_each_speakable_begins_anew() -> None:
    assert make_speakable("en")("```\nx") == "There is code in the text."
    assert make_speakable("en")("y") == "y"


def test_with_the_splitter_it_says_the_same_however_chunked() -> None:
    text = "Sure, **here** is it:\n\n1. Buy `milk`.\n2. Pay $3.50 at 10:30.\n\n"
    text += "```py\nx, y = 1. , 2\n```\nSee [docs](http://a.b/c). Bye!"

    def spoken(size: int) -> list[str]:
        splitter, speakable = make_splitter("en"), make_speakable("en")
        pieces = [piece for at in range(0, len(text), size) for piece in splitter.push(text[at : at + size])]
        return [words for piece in pieces + splitter.finish() if (words := speakable(piece))]

    assert spoken(1) == spoken(7) == spoken(len(text))
    assert spoken(1) == [
        "Sure, here is it:", "1. Buy milk.", "2. Pay 3 dollars and 50 cents at 10:30.", "There is code in the text.",
        "See docs.", "Bye!",
    ]  # fmt: skip


# ---------------------------------------------------------------------------- lexicon


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("SQL, sql and **Sql**", "sequel, sequel and sequel"),
        ("MySQL sqlite SQL's", "MySQL sqlite sequel's"),
        ("New  York City in new york", "the big one in Noo York"),
        ("https://sql.com and sql.com and sql@a.org", "sql.com and sql.com and sql at a.org"),
        ("C++, AT&T and $5 SQL", "see plus plus, A T and T and 5 dollars sequel"),
        ("snake_case_SQL", "snake case sequel"),
        ("it’s k8s", "it is 3-5 & so"),
        ("去上海吧", "去桑海吧"),
    ],
)
def test_the_lexicon(text: str, spoken: str) -> None:
    lexicon = {
        "sql": "sequel", "New York": "Noo York", "new york city": "the big one", "c++": "see plus plus",
        "AT&T": "A T and T", "it's": "it is", "k8s": "3-5 & so", "上海": "桑海", " ": "x", "com": "no",
    }  # fmt: skip
    assert make_speakable("en", lexicon=lexicon)(text) == spoken


def test_a_lexicon_can_be_shared_and_may_silence_a_word() -> None:
    shared = Lexicon({"um": "", "hm": " well  now "})
    assert make_speakable("en", lexicon=shared)("um yes, hm") == "yes, well now"
    assert make_speakable("de", lexicon=shared)("um") == ""


# ---------------------------------------------------------------------------- time

_UNITS = (
    *(
        "a",
        "1",
        "1,",
        "1.",
        "1 ",
        "$1",
        "(",
        "[",
        "[a](",
        "![",
        "*",
        "_",
        "`",
        "|",
        "#",
        "<",
        "<a ",
        "&",
        "&a",
        "~",
        "\\",
    ),
    *(
        "http://a.b ",
        "a@",
        "a.",
        ". ",
        "\n",
        "- ",
        "—",
        "-",
        "/",
        "a/",
        "=",
        "U.",
        "A. ",
        "Dr. ",
        "in 1883 ",
        "好",
        "😀",
    ),
    *("The ", "Henry ", "1:", "5 k", "it's, ", "word ", " ", '"', "<!--", "1 1/", "|-"),
)


@pytest.mark.parametrize("language", ["en", "de"])
def test_time_is_linear(language: str) -> None:
    lexicon = Lexicon({f"word{number}": "x" for number in range(50)})

    def cost(unit: str, length: int) -> float:
        start = time.process_time()
        make_speakable(language, lexicon=lexicon)((unit * length)[:length])
        return time.process_time() - start

    cost("a", 10)  # compiles the rules
    slow = [unit for unit in _UNITS if cost(unit, 16_000) > 40 * max(cost(unit, 2_000), 0.002)]
    assert [unit for unit in slow if cost(unit, 16_000) > 40 * cost(unit, 2_000)] == [], "quadratic is 64"


def test_a_very_long_mixed_text_is_taken() -> None:
    chosen = random.Random(5)
    text = "".join(chosen.choice(_UNITS) for _ in range(20_000))
    splitter, speakable = make_splitter("en"), make_speakable("en")
    pieces = splitter.push(text) + splitter.finish()
    assert "".join(pieces) == text
    assert any([speakable(piece) for piece in pieces])
