"""Thinking never comes out, however the text is cut into chunks."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.llm.thinking import PAIRS, ThinkingFilter, open_block


def run(chunks: list[str], inside: str = "") -> str:
    thinking = ThinkingFilter(inside)
    return "".join([thinking.feed(chunk) for chunk in chunks] + [thinking.finish()])


@pytest.mark.parametrize(("opening", "closing"), PAIRS)
def test_every_pair_is_removed(opening: str, closing: str) -> None:
    assert run([f"One {opening}secret{closing}two."]) == "One two."
    assert run(list(f"One {opening}secret{closing}two.")) == "One two."


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Hello there.", "Hello there."),
        ("<think>never closed", ""),
        ("Yes. <THINK>a</Think> No.", "Yes.  No."),
        ("a</think>b", "ab"),
        ("<think>a<think>b</think>c", "c"),
        ("<think>a</thinking>b</think>c", "c"),
        ("1 < 2 and <b>bold</b>", "1 < 2 and <b>bold</b>"),
        ("ends like a tag <thi", "ends like a tag <thi"),
        ("<think>a</think><think>b</think>c", "c"),
        ("İ<think>x</think>İ", "İİ"),
    ],
)
def test_cases(text: str, spoken: str) -> None:
    assert run([text]) == spoken
    assert run(list(text)) == spoken


def test_an_answer_that_begins_inside_a_block() -> None:
    assert run(["hmm, ", "so</thi", "nk>Paris."], inside="</think>") == "Paris."
    assert run(["hmm, so"], inside="</think>") == ""


@pytest.mark.parametrize(
    ("prompt", "closing"),
    [
        ("<|im_start|>assistant\n<think>\n", "</think>"),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", ""),
        ("user: what is <think> ?\nassistant:", ""),
        ("", ""),
        ("[THINK]", "[/THINK]"),
    ],
)
def test_open_block(prompt: str, closing: str) -> None:
    assert open_block(prompt) == closing


_PIECES = st.sampled_from(
    ["<think>", "</think>", "<thinking>", "</thinking>", "[THINK]", "[/THINK]", "<th", "ink>", "</", "a", " ", "<", "é"]
)


@given(st.lists(_PIECES, max_size=14), st.lists(st.integers(0, 60), max_size=10), st.sampled_from(["", "</think>"]))
def test_any_chunking_gives_the_same_text(pieces: list[str], cuts: list[int], inside: str) -> None:
    text = "".join(pieces)
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    chunks = [text[a:b] for a, b in pairwise(edges)]
    assert run(chunks, inside) == run([text], inside) == run(list(text), inside)


@given(st.text(alphabet="abc <>/{", max_size=40), st.text(alphabet="xyz <", max_size=20))
def test_text_without_tags_is_kept_and_thinking_is_not(said: str, thought: str) -> None:
    assert run([said]) == said
    assert run([said, "<think>" + thought, "</think>", said]) == said + said
