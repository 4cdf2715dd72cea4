"""Personal data, as it is written and as it is spoken; and the same whatever the chunks."""

import asyncio
import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from antiphon.pipeline.config.policy import PiiOptions
from antiphon.pipeline.errors import PolicyError
from antiphon.pipeline.policy import Allow, Rewrite, Subject
from antiphon.pipeline.policy.numerals import chains, characters, windows
from antiphon.pipeline.policy.pii import PiiCheck
from antiphon.pipeline.policy.redaction import Span, without_overlaps

DIGITS = "zero one two three four five six seven eight nine".split()
CHECK = PiiCheck(PiiOptions(names=("Anna Smith", "Bob")))


def redacted(text: str, check: PiiCheck = CHECK) -> str:
    redactor = check.redactor()
    return redactor.push(text) + redactor.finish()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("My card is 4111 1111 1111 1111, thanks.", "My card is [card number], thanks."),
        ("4111-1111-1111-1111", "[card number]"),
        ("It's 4111111111111111.", "It's [card number]."),
        ("card: 4111. 1111. 1111. 1111. Bye", "card: [card number]. Bye"),
        (
            "Four one one one, one one one one. One one one one one one one one.",
            "[card number].",
        ),
        ("forty-one eleven eleven eleven eleven eleven eleven eleven ok", "[card number] ok"),
        ("it is—four one one one one uh one one one and one one one one one one one one", "it is—[card number]"),
        ("four triple one double one double one double one double one double one double one ok", "[card number] ok"),
        ("vier eins eins eins eins eins eins eins eins eins eins eins eins eins eins eins", "[card number]"),
        ("４１１１ １１１１ １１１１ １１１１", "[card number]"),
        ("IBAN DE89 3704 0044 0532 0130 00.", "IBAN [account number]."),
        (
            "d e eight nine three seven oh four double oh double four oh five three two oh one three triple oh",
            "[account number]",
        ),
        ("call (415) 555-2671 or +49 30 901820 now", "call [phone number] or [phone number] now"),
        ("call four one five five five five two six seven one now", "call [phone number] now"),
        ("mail john.smith@example.com.", "mail [email address]."),
        ("john dot smith at example dot com is it", "[email address] is it"),
        ("j o h n at example dot com", "[email address]"),
        ("Tell anna Smith's friend Bob, and Bobby.", "Tell [name]'s friend [name], and Bobby."),
    ],
)
def test_what_goes(text: str, expected: str) -> None:
    assert redacted(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "I have 3 apples and 1,200,000 pears in 2019. 4 more.",
        "4111 1111 1111 1112 fails its check digit.",
        "Visit us at example dot com.",
        "We meet at noon at the dot.",
        "One, two, three, four, five, six!",
        "Anna and Smith are two people.",
        "  spaces \n stay  ",
        "",
    ],
)
def test_what_stays(text: str) -> None:
    assert redacted(text) == text


def test_long_numbers_and_own_words_for_digits() -> None:
    check = PiiCheck(PiiOptions(long_numbers=6, phones=False, digit_words={"Nulla": "0"}))
    assert redacted("code nulla one nulla 2 nulla 3 then nulla", check) == "code [number]"
    assert redacted("code 12345", check) == "code 12345"


def test_national_numbers_have_their_own_replacement() -> None:
    check = PiiCheck(PiiOptions(national=("us.ssn",), replacements={"us.ssn": "a number"}, replacement="<{kind}>"))
    assert redacted("ssn 536-90-4399, 4111111111111111", check) == "ssn a number, <card number>"


def test_an_unknown_national_number_is_told() -> None:
    with pytest.raises(PolicyError, match=r"'us\.nope' is no number"):
        PiiCheck(PiiOptions(national=("us.nope",)))


def test_arguments_stay_json_and_keys_stay() -> None:
    arguments = json.dumps({"card": 4111111111111111, "to": ["Bob", {"mail": "a@b.org"}], "ok": True, "n": 5})
    verdict = asyncio.run(CHECK.check(Subject("tool_call", arguments)))
    assert isinstance(verdict, Rewrite)
    assert json.loads(verdict.text) == {
        "card": "[card number]",
        "to": ["[name]", {"mail": "[email address]"}],
        "ok": True,
        "n": 5,
    }


def test_the_reason_has_kinds_and_counts_only() -> None:
    verdict = asyncio.run(CHECK.check(Subject("transcript", "Bob, 4111111111111111 and Bob")))
    assert verdict == Rewrite("[name], [card number] and [name]", "card x1, name x2")
    assert asyncio.run(CHECK.check(Subject("transcript", "nobody"))) == Allow()


def luhn_digit(digits: list[int]) -> int:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = digit * 2 if place % 2 == 0 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return -total % 10


@st.composite
def cards(draw: st.DrawFn) -> str:
    """A card number in any of the forms that people write and speak it in."""
    body = [draw(st.sampled_from([3, 4, 5, 6])), *draw(st.lists(st.integers(0, 9), min_size=14, max_size=14))]
    digits = [*body, luhn_digit(body)]
    parts = [str(d) if draw(st.booleans()) else DIGITS[d] for d in digits]
    gaps = draw(st.lists(st.sampled_from([" ", ", ", "-", ". ", " - ", " uh ", "\n"]), min_size=15, max_size=15))
    return "".join(part + gap for part, gap in zip(parts, [*gaps, ""], strict=True))


@st.composite
def chunkings(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> list[str]:
    text = draw(texts)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


WORDS = st.sampled_from(
    "Anna Smith Anna Bob at dot com example john a 4111 1111 one four double oh hello. yes, it (415) 555-2671 a@b.org"
    " DE89 3704 0044 0532 0130 00 - and \n . twenty".split(" ")
)
TEXTS = st.lists(WORDS, max_size=30).map(" ".join) | st.text(max_size=60)


@given(chunkings(TEXTS))
@example(["4111 1111 1111 11", "11"])
@example(["a@b.o", "rg x"])
def test_chunks_make_no_difference(chunks: list[str]) -> None:
    redactor = CHECK.redactor()
    streamed = "".join(redactor.push(chunk) for chunk in chunks) + redactor.finish()
    assert streamed == redacted("".join(chunks))
    assert redactor.held == ""


@given(cards(), st.data())
def test_no_card_comes_through_however_it_is_cut(card: str, data: st.DataObject) -> None:
    text = f"Well, here you are: {card} Thanks, that was it."
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    redactor = CHECK.redactor()
    out = [redactor.push(text[a:b]) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert "".join([*out, redactor.finish()]) == "Well, here you are: [card number] Thanks, that was it."


@given(st.text(max_size=80))
def test_text_without_anything_is_left_alone_to_the_letter(text: str) -> None:
    plain = PiiCheck(PiiOptions(cards=False, ibans=False, phones=False, emails=False))
    assert redacted(text, plain) == text


def test_text_flows_with_at_most_one_word_held_back() -> None:
    redactor = CHECK.redactor()
    assert redactor.push("Sure, I ") == "Sure,"  # "I" may be a letter that is spelled
    assert redactor.push("can help. ") == " I can help."
    assert redactor.push("Call ") == ""
    assert redactor.push("me ") == " Call"


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8)), max_size=8))
def test_spans_never_overlap_and_cover_all(parts: list[tuple[int, int]]) -> None:
    spans = [Span(start, start + length, str(index)) for index, (start, length) in enumerate(parts)]
    merged = without_overlaps(spans)
    assert all(a.end <= b.start for a, b in itertools.pairwise(merged))
    covered = {at for span in merged for at in range(span.start, span.end)}
    assert covered == {at for span in spans for at in range(span.start, span.end)}


def test_numbers_begin_and_end_with_tokens() -> None:
    (chain,) = chains("forty two 3456 seven")
    assert characters(chain) == "4234567"
    assert [characters(chain, *window) for window in windows(chain, 1, 6)] == ["423456", "42", "34567", "3456", "7"]
