"""The prompt is byte-stable from turn to turn: what one turn has evaluated, the next finds in the LLM's cache."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from itertools import pairwise

import pytest
from sessions import Rig

from antiphon.engines.protocols import Message, Usage
from antiphon.engines.testing import Heard, Reply, run_virtual
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config import load_config
from antiphon.pipeline.session_settings import SessionSettings

FOUR_TURNS = [(0.5, 1.5), (4.0, 5.0), (7.5, 8.5), (11.0, 12.0)]


def fingerprint(messages: Sequence[Message]) -> str:
    return hashlib.sha256(json.dumps([[one.role, one.content] for one in messages]).encode()).hexdigest()


def conversation() -> Rig:
    return Rig(
        FOUR_TURNS, seconds=15.0, stt=[Heard(f"Question {at}?") for at in range(4)],
        llm=[Reply([f"Answer {at}."], usage=Usage(10 * at + 20, 5, 10 * at + 8)) for at in range(4)],
        settings=SessionSettings(on_error=""),
    )  # fmt: skip


def test_each_prompt_begins_with_the_one_before() -> None:
    rig = conversation()
    run_virtual(rig.run())
    prompts = [call.messages for call in rig.llm.calls]
    assert [len(prompt) for prompt in prompts] == [2, 4, 6, 8]
    for before, after in pairwise(prompts):
        assert fingerprint(after[: len(before)]) == fingerprint(before)
        assert after[len(before)].role == "assistant"
    for ahead in rig.llm.prefills:  # what is evaluated ahead begins the prompt that comes
        *sure, last = ahead.messages
        coming = next(prompt for prompt in prompts if len(prompt) >= len(ahead.messages))
        assert fingerprint(coming[: len(sure)]) == fingerprint(sure)
        assert coming[len(sure)].role == last.role and coming[len(sure)].content.startswith(last.content)


def test_cached_tokens_are_reported_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "antiphon.pipeline.reporting"):
        rig = conversation()
        run_virtual(rig.run())
    told = [(event.to_dict()["input_tokens"], event.to_dict()["cached_tokens"]) for event in rig.of("turn_ended")]
    assert told == [(20, 8), (30, 18), (40, 28), (50, 38)]
    logged = [(record.__dict__["prompt_tokens"], record.__dict__["cached_tokens"]) for record in caplog.records
              if record.message == "turn answered"]  # fmt: skip
    assert logged == told
    assert "Question" not in caplog.text


@pytest.mark.real
def test_a_real_model_finds_the_whole_last_prompt_in_its_cache() -> None:
    import asyncio

    async def main() -> None:
        config = load_config("tiny.yaml")
        async with Assembly(config, text_only=True) as assembly:
            llm = assembly.llm
            assert llm is not None
            messages = [Message("system", "Be brief."), Message("user", "What is the capital of France?")]
            before = 0
            for question in ("And of Spain?", "And of Italy?", "Thank you."):
                said, usage = "", Usage()
                async for event in llm.stream(messages, (), session_key="s"):
                    said += getattr(event, "text", "")
                    usage = event if isinstance(event, Usage) else usage
                assert usage.cached_tokens >= before  # all of the prompt before, but for the template's tail
                before = usage.input_tokens - 8
                messages += [Message("assistant", said), Message("user", question)]

    asyncio.run(main())
