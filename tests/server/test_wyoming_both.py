"""Our Wyoming engines on our Wyoming server: what one says the other understands, errors too."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from contract import collected, noise
from network_clock import run_networked
from wyoming_talk import wyoming_config, wyoming_server

from antiphon.engines.errors import EngineFailed, EngineOverloaded, EngineRequestInvalid
from antiphon.engines.host import EngineHost
from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import STTOptions, TTSOptions
from antiphon.engines.registry import EngineContext, find
from antiphon.engines.testing import Heard, ScriptedTTS


def engine(stage: Any, address: tuple[str, int], **values: Any) -> Any:
    spec = find(stage, "wyoming")
    options = spec.options_class()(uri="tcp://{}:{}".format(*address), max_retries=0, **values)
    return spec.create(options, EngineContext(EngineHost(), ModelStore()))


def run(use: Any, given: Any = None) -> Any:
    async def main() -> Any:
        async with wyoming_server(given) as (address, service):
            return await use(address, service)

    return run_networked(main())


def test_a_recording_and_a_text_go_there_and_back() -> None:
    given = wyoming_config(stt=[Heard("turn on the light", language="en")])

    async def use(address: Any, service: Any) -> Any:
        async with engine("stt", address) as stt, engine("tts", address, sample_rate_hz=24000) as tts:
            heard = await stt.transcribe(noise(1.0), STTOptions(hotwords="Nabu"))
            chunks = await collected(tts.synthesize("It is noon."))
            return heard, chunks, stt.capabilities, tts.capabilities, service.engines.stt._engine.calls

    heard, chunks, stt, tts, (call,) = run(use, given)
    assert (heard.text, heard.language) == ("turn on the light", "en") and call.options.hotwords == "Nabu"
    spoken = np.concatenate([chunk.frame.samples for chunk in chunks])
    assert len(spoken) / 24000 == pytest.approx(0.66) and np.abs(spoken).max() == pytest.approx(0.3, abs=0.01)
    assert stt.languages == tts.languages == ("en",) and tts.voices


def test_what_the_server_refuses_is_the_error_that_it_is() -> None:
    given = wyoming_config(
        server={"aliases": {"voices": {"joe": "default"}}}, stt=[EngineFailed("deaf")], llm=(), repeat=False
    )

    async def use(address: Any, service: Any) -> None:
        async with engine("stt", address) as stt, engine("tts", address, cache_mb=0) as tts:
            with pytest.raises(EngineFailed, match="says: deaf") as caught:
                await stt.transcribe(noise(1.0))
            assert caught.value.retryable
            with pytest.raises(EngineRequestInvalid, match="'nobody'"):
                await collected(tts.synthesize("Hello.", TTSOptions(voice="nobody")))
            assert await collected(tts.synthesize("Hello.", TTSOptions(voice="joe")))
            service.draining = True
            with pytest.raises(EngineOverloaded, match="shutting down"):
                await collected(tts.synthesize("Hello again."))

    run(use, given)


def test_a_server_of_one_stage_says_so() -> None:
    from antiphon.engines.errors import EngineLoadFailed

    async def use(address: Any, service: Any) -> None:
        with pytest.raises(EngineLoadFailed, match="it offers no stt"):
            async with engine("stt", address):
                pass
        async with engine("tts", address) as tts:
            await tts.probe()

    run(use, wyoming_config({"services": ["tts"]}))


def test_speech_that_nobody_wants_any_more_is_not_made() -> None:
    given = wyoming_config(tts=ScriptedTTS(chunk_delay_s=0.05, chunk_s=0.05))

    async def use(address: Any, service: Any) -> str:
        async with engine("tts", address, cache_mb=0) as tts:
            stream = tts.synthesize("A very long story about a lighthouse and its keeper.")
            await anext(stream)
            await stream.aclose()
        (call,) = service.engines.tts._engine.calls
        async with asyncio.timeout(60):
            while call.outcome == "running":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return str(call.outcome)

    assert run(use, given) == "cancelled"
