"""The gate "speech": the same text whatever the chunks, and nothing that was not let through."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.engines.protocols import ToolCall, Usage
from antiphon.pipeline.config.policy import PiiOptions
from antiphon.pipeline.policy import (
    Block,
    BoundCheck,
    Policy,
    PolicyDecision,
    Rewrite,
    Subject,
    TurnGuard,
    as_check,
    speech,
)
from antiphon.pipeline.policy.pii import PiiCheck
from antiphon.pipeline.policy.sentences import SentenceCutter
from antiphon.pipeline.workflow import Filler

PII = BoundCheck("pii", PiiCheck(PiiOptions(names=("Anna Smith",))))


async def no_secret(subject: Subject) -> Any:
    return Block("I may not say that.") if "secret" in subject.text else None


async def shout(subject: Subject) -> str:
    return subject.text.upper()


def bound(function: Any, name: str = "own", **more: Any) -> BoundCheck:
    return BoundCheck(name, as_check(function), **more)


async def source_of(items: list[Any], seen: list[Any] | None = None) -> AsyncIterator[Any]:
    for item in items:
        if seen is not None:
            seen.append(item)
        if isinstance(item, Exception):
            raise item
        yield item


def filtered(policy: Policy, items: list[Any], told: list[PolicyDecision] | None = None) -> list[Any]:
    async def run() -> list[Any]:
        guard = TurnGuard(policy, "s", 1, (told if told is not None else []).append)
        return [item async for item in guard.speech(source_of(items))]

    return asyncio.run(run())


def sentences(text: str) -> list[str]:
    cutter = SentenceCutter("en")
    return cutter.push(text) + cutter.finish()


TEXTS = st.lists(
    st.sampled_from(
        [
            "Hello there.", "It is 4111.", "1111 1111 1111", "Dr. Smith said so!", "A secret.", "Is that so?", "no end",
            "Anna", "Smith", "\n- a list", "\n\n", "3.5 percent", "one.", "four one one one,", "Really...", "日本語。",
        ]
    ),
    max_size=12,
).map(" ".join) | st.text(alphabet="ab1. \n,?S", max_size=60)  # fmt: skip


def cut(text: str, places: list[int]) -> list[str]:
    cuts = sorted(min(place, len(text)) for place in places)
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


PLACES = st.lists(st.integers(0, 200), max_size=15)


@given(TEXTS, PLACES)
def test_sentences_join_to_the_text_and_chunks_make_no_difference(text: str, places: list[int]) -> None:
    cutter = SentenceCutter("en")
    pieces = [piece for chunk in cut(text, places) for piece in cutter.push(chunk)] + cutter.finish()
    assert "".join(pieces) == text
    assert pieces == sentences(text)


def test_numbers_are_not_parted_at_full_stops() -> None:
    assert sentences("Hello there, you. The number is 4111. 1111. 1111. 1111. Thank you, that was all of it. Bye.") == [
        "Hello there, you.",
        " The number is 4111. 1111. 1111. 1111. Thank you, that was all of it.",
        " Bye.",
    ]


def test_length_alone_parts_nothing() -> None:
    text = "word " * 500 + "end."
    assert sentences(text) == [text]


POLICIES = {
    "words": Policy(speech=(PII,)),
    "sentences": Policy(speech=(PII, bound(no_secret), bound(shout))),
    "whole": Policy(speech=(PII, bound(no_secret)), hold="full"),
}


@pytest.mark.parametrize("way", POLICIES)
@settings(deadline=None, max_examples=60)
@given(text=TEXTS, places=PLACES)
def test_what_is_spoken_depends_on_the_text_alone(way: str, text: str, places: list[int]) -> None:
    once = "".join(filtered(POLICIES[way], [text]))
    assert "".join(filtered(POLICIES[way], cut(text, places))) == once


@settings(deadline=None, max_examples=60)
@given(text=TEXTS, places=PLACES)
def test_sentences_are_judged_one_by_one_until_a_block(text: str, places: list[int]) -> None:
    expected = ""
    redact = PII.check
    assert isinstance(redact, PiiCheck)
    for sentence in sentences(text):
        redactor = redact.redactor()
        clean = redactor.push(sentence) + redactor.finish()
        if "secret" in clean and clean.strip():
            expected += (" " if expected and not expected[-1].isspace() else "") + "I may not say that."
            break
        expected += clean.upper() if clean.strip() else clean
    assert "".join(filtered(POLICIES["sentences"], cut(text, places))) == expected


@settings(deadline=None, max_examples=60)
@given(text=TEXTS, places=PLACES, way=st.sampled_from(["sentences", "whole"]))
def test_nothing_that_is_blocked_leaks(text: str, places: list[int], way: str) -> None:
    spoken = "".join(filtered(POLICIES[way], cut(f"{text} secret", places)))
    assert "secret" not in spoken
    if way == "whole":
        assert spoken == "I may not say that."


def test_held_whole_nothing_comes_before_the_end() -> None:
    async def run() -> None:
        order: list[str] = []

        async def source() -> AsyncIterator[str]:
            for text in ("Hello. ", "You. ", "There."):
                order.append(f"made {text}")
                yield text

        guard = TurnGuard(Policy(speech=(bound(no_secret),), hold="full"), "s", 1, [].append)
        async for item in guard.speech(source()):
            order.append(f"out {item}")
        assert order == ["made Hello. ", "made You. ", "made There.", "out Hello. You. There."]

    asyncio.run(run())


def test_a_block_stops_the_workflow() -> None:
    async def run() -> None:
        made: list[Any] = []
        closed = []

        async def source() -> AsyncIterator[str]:
            try:
                for text in ("Fine so far. ", "The secret is out. ", "And more. ", "And more."):
                    made.append(text)
                    yield text
            finally:
                closed.append(True)

        guard = TurnGuard(Policy(speech=(bound(no_secret),)), "s", 1, [].append)
        spoken = [item async for item in guard.speech(source())]
        assert "".join(spoken) == "Fine so far. I may not say that."
        assert len(made) < 4 and closed == [True]

    asyncio.run(run())


def test_events_fillers_and_signs_of_life_pass_at_once() -> None:
    call, filler = ToolCall("1", "weather", "{}"), Filler("One moment. ")
    items = filtered(POLICIES["whole"], [call, "", filler, "It is", Usage(1, 2), " sunny."])
    assert items == [call, "", filler, Usage(1, 2), "It is sunny."]


@pytest.mark.parametrize("way", ["words", "sentences", "whole"])
def test_what_waits_when_the_workflow_fails_is_never_spoken(way: str) -> None:
    async def run() -> None:
        guard = TurnGuard(POLICIES[way], "s", 1, [].append)
        spoken: list[Any] = []
        with pytest.raises(ValueError, match="broken"):
            async for item in guard.speech(source_of(["The card is 4111 1111 ", ValueError("broken")])):
                spoken.append(item)
        assert "4111" not in "".join(spoken)

    asyncio.run(run())


def test_no_checks_leave_the_source_itself() -> None:
    source = source_of(["a"])
    assert TurnGuard(Policy(), "s", 1, [].append).speech(source) is source


def test_the_record_says_what_was_taken_out_and_not_the_text() -> None:
    told: list[PolicyDecision] = []
    assert "".join(filtered(Policy(speech=(PII,)), ["I am Anna ", "Smith, hi."], told)) == "I am [name], hi."
    assert [(d.gate, d.check, d.verdict, d.reason) for d in told] == [("speech", "pii", "rewrite", "name x1")]
    told.clear()
    filtered(Policy(speech=(PII,)), ["Hello."], told)
    assert [d.verdict for d in told] == ["allow"]


class BrokenCheck:
    """A local check whose redactor breaks at a word."""

    async def check(self, subject: Subject) -> Rewrite:
        raise AssertionError("words flow")

    def redactor(self) -> Any:
        class Redactor:
            found: dict[str, int] = {}  # noqa: RUF012
            held = ""

            def push(self, text: str) -> str:
                self.held += text
                if "boom" in self.held:
                    raise RuntimeError("boom")
                settled, self.held = self.held[:-4], self.held[-4:]
                return settled

            def finish(self) -> str:
                settled, self.held = self.held, ""
                return settled

        return Redactor()


def test_a_redactor_that_breaks_fails_closed_or_open() -> None:
    closed = Policy(speech=(BoundCheck("broken", BrokenCheck(), failure_line="Sorry."),))
    told: list[PolicyDecision] = []
    assert "".join(filtered(closed, ["Hello you, ", "boom", " more"], told)) == "Hello y Sorry."
    assert [d.verdict for d in told] == ["failed_closed"]
    opened = Policy(speech=(BoundCheck("broken", BrokenCheck(), on_failure="open"), PII))
    assert "".join(filtered(opened, ["Hello you, ", "boom", " Anna Smith"])) == "Hello you, boom [name]"


def test_signs_of_life_come_while_text_is_held_or_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "SIGN_OF_LIFE_S", 0.01)

    async def slow_source() -> AsyncIterator[str]:
        for _ in range(5):
            await asyncio.sleep(0.02)
            yield "word "

    async def slow_check(subject: Subject) -> None:
        await asyncio.sleep(0.05)

    async def run() -> list[Any]:
        guard = TurnGuard(Policy(speech=(bound(slow_check),), hold="full"), "s", 1, [].append)
        return [item async for item in guard.speech(slow_source())]

    items = asyncio.run(run())
    assert items[-1] == "word " * 5 and len(items) > 4
    assert set(items[:-1]) == {""}


def test_a_judgement_ends_with_its_answer() -> None:
    cancelled = asyncio.Event()

    async def endless(subject: Subject) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    async def run() -> None:
        guard = TurnGuard(Policy(speech=(bound(endless, timeout_s=60),)), "s", 1, [].append)
        answer = guard.speech(source_of(["A sentence. ", "Another one."]))
        reading = asyncio.create_task(anext(answer))
        await asyncio.sleep(0.02)
        reading.cancel()
        await asyncio.wait([reading])
        await asyncio.wait_for(cancelled.wait(), 60)
        assert len(asyncio.all_tasks()) == 1, "nothing is left running"

    asyncio.run(run())
