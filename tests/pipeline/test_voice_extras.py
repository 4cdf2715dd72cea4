"""Warnings as events of the library, and the sentence splitter of `agents.voice`."""

from __future__ import annotations

import dataclasses
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_config import Script, one_turn, spoken_audio, texts

from antiphon import (
    TTSModelSettings,
    VoicePipeline,
    VoicePipelineConfig,
    VoiceStreamEvent,
    VoiceStreamEventWarning,
    get_sentence_based_splitter,
)
from antiphon.engines.testing import Heard, Reply, run_virtual


def test_a_warning_is_an_event_and_its_code_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    script = Script(stt=[Heard("Wie spaet ist es?", 0.1, language="de")], llm=[Reply.of("Es ist zwoelf.")])
    config = script.config()
    speaker = dataclasses.replace(config.tts[0], voices={"en": "joe"})
    config = config.model_copy(update={"tts": (speaker,)})

    async def main() -> list[VoiceStreamEvent]:
        async with VoicePipeline(config=config) as pipeline:
            result = await pipeline.run(spoken_audio())
            return [event async for event in result.stream()]

    with caplog.at_level(logging.WARNING, logger="antiphon.pipeline.voice"):
        events = run_virtual(main())
    (warning,) = [event for event in events if isinstance(event, VoiceStreamEventWarning)]
    assert (warning.code, warning.turn, warning.type) == ("no_voice_for_language", 1, "voice_stream_event_warning")
    assert "'de'" in warning.message and warning.t_s is not None
    assert texts(events, "assistant") == ["Es ist zwoelf."]
    (record,) = [record for record in caplog.records if record.name == "antiphon.pipeline.voice"]
    assert (record.levelname, record.code) == ("WARNING", warning.code)  # type: ignore[attr-defined]
    assert "de" not in record.getMessage().split()


@pytest.mark.parametrize(
    ("text", "speak", "keep"),
    [
        ("", "", ""),
        ("One sentence that goes on", "", "One sentence that goes on"),
        ("A sentence that is complete.", "", "A sentence that is complete."),
        ("A sentence that is complete. ", "", "A sentence that is complete. "),
        ("A sentence that is complete. And", "A sentence that is complete.", "And"),
        ("Is that a sentence? It is!\nAnd ", "Is that a sentence? It is!", "And "),
        ("Short. And", "", "Short. And"),
        ("Version 1.5 of this is out.Now", "", "Version 1.5 of this is out.Now"),
    ],
)
def test_all_sentences_but_the_last(text: str, speak: str, keep: str) -> None:
    assert get_sentence_based_splitter()(text) == (speak, keep)


def test_the_shortest_that_is_spoken() -> None:
    assert get_sentence_based_splitter(6)("Short. And") == ("Short.", "And")
    assert get_sentence_based_splitter(min_sentence_length=7)("Short. And") == ("", "Short. And")


@given(st.text("ab.!? \n"), st.integers(0, 10))
def test_the_splitter_loses_nothing(text: str, least: int) -> None:
    speak, keep = get_sentence_based_splitter(least)(text)
    assert "".join((speak + keep).split()) == "".join(text.split())
    assert text.endswith(keep) and (not speak or (len(speak) >= least and speak[-1] in ".!?"))


def test_the_splitter_in_a_pipeline() -> None:
    answer = "The first sentence is here. The second is as well. End."
    script = one_turn("Hi.", answer)
    settings = VoicePipelineConfig(tts_settings=TTSModelSettings(text_splitter=get_sentence_based_splitter()))

    async def main() -> list[VoiceStreamEvent]:
        async with script.pipeline(settings=settings) as pipeline:
            result = await pipeline.run(spoken_audio())
            return [event async for event in result.stream()]

    assert texts(run_virtual(main()), "assistant") == [answer]
    assert [call.text.strip() for call in script.tts_engine.calls] == [
        "The first sentence is here.",
        "The second is as well.",
        "End.",
    ]
