"""The engines `wyoming` against a server made of the package `wyoming` alone."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import numpy as np
import pytest
from contract import collected, noise
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event
from wyoming.info import Info
from wyoming_standin import WyomingStandin, error, tone

from antiphon.engines.audio import AudioFrame, resample
from antiphon.engines.errors import (
    EngineError,
    EngineFailed,
    EngineLoadFailed,
    EngineOverloaded,
    EngineRequestInvalid,
    EngineTimeout,
    OfflineForbidden,
)
from antiphon.engines.host import EngineHost, Ticket, current_ticket
from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import STTOptions, Transcript, TTSOptions
from antiphon.engines.registry import EngineContext, find
from antiphon.engines.stt.wyoming import WyomingSTTOptions
from antiphon.engines.tts.wyoming import WyomingTTSOptions

TEXT = "Sure, I can help you with that."


def make(stage: Any, uri: str, *, offline: bool = True, **values: Any) -> Any:
    spec = find(stage, "wyoming")
    context = EngineContext(EngineHost(), ModelStore(), offline=offline)
    return spec.create(spec.options_class()(uri=uri, **values), context)


def hear(uri: str, audio: AudioFrame | None = None, options: STTOptions | None = None, **values: Any) -> Transcript:
    async def main() -> Transcript:
        async with make("stt", uri, **values) as stt:
            return await stt.transcribe(audio or noise(1.0), options or STTOptions())  # type: ignore[no-any-return]

    return asyncio.run(main())


def speak(uri: str, options: TTSOptions | None = None, **values: Any) -> list[Any]:
    async def main() -> list[Any]:
        async with make("tts", uri, cache_mb=0, **values) as tts:
            return await collected(tts.synthesize(TEXT, options or TTSOptions()))

    return asyncio.run(main())


# ------------------------------------------------------------------------------------------------ stt


@pytest.mark.parametrize("streams", [False, True])
def test_a_recording_of_any_rate_is_sent_at_16_khz_and_its_transcript_comes(streams: bool) -> None:
    with WyomingStandin(streams=streams) as server:
        heard = hear(server.uri, noise(1.5, 44100), STTOptions(language="de", hotwords="Nabu, Piper"), model="tiny")
    assert heard == Transcript("1.50 seconds of it", language="en")
    (asked,) = server.of_type("transcribe")
    assert asked.data == {"name": "tiny", "language": "de", "transcript_terms": ["Nabu", "Piper"]}
    (start,) = server.of_type("audio-start")
    assert (start.data["rate"], start.data["width"], start.data["channels"]) == (16000, 2, 1)
    order = [event.type for event in server.events if event.type != "describe"]
    assert order[:2] == ["transcribe", "audio-start"] and order[-1] == "audio-stop"


def test_silence_and_clicks_are_not_sent() -> None:
    with WyomingStandin() as server:
        assert hear(server.uri, AudioFrame(np.zeros(16000, np.float32), 16000)).text == ""
        assert hear(server.uri, noise(0.05)).text == ""
    assert server.of_type("transcribe") == []


def test_a_server_that_streams_and_leaves_out_the_whole() -> None:
    def script(event: Event) -> list[Any] | None:
        pieces = [Event("transcript-chunk", {"text": "one "}), Event("transcript-chunk", {"text": "two"})]
        return [*pieces, Event("transcript-stop")] if event.type == "audio-stop" else None

    with WyomingStandin(script=script) as server:
        assert hear(server.uri).text == "one two"


def test_the_languages_are_those_of_the_model() -> None:
    async def main() -> Any:
        with WyomingStandin() as server:
            async with make("stt", server.uri) as stt, make("tts", server.uri) as tts:
                return stt.capabilities, tts.capabilities

    stt, tts = asyncio.run(main())
    assert stt.languages == ("en", "de") and stt.local
    assert (tts.voices, tts.languages, tts.streaming) == (("joe",), ("en",), True)


# ------------------------------------------------------------------------------------------------ tts


def test_speech_comes_in_chunks_that_cover_the_text() -> None:
    with WyomingStandin() as server:
        chunks = speak(server.uri)
    heard = np.concatenate([chunk.frame.samples for chunk in chunks])
    np.testing.assert_allclose(heard, tone(TEXT) / 32768.0, atol=1e-6)
    assert len(chunks) > 5 and chunks[-1].char_end == len(TEXT)
    (asked,) = server.of_type("synthesize")
    assert asked.data == {"text": TEXT}


def test_a_voice_its_speaker_and_another_rate() -> None:
    with WyomingStandin(rate_hz=16000) as server:
        chunks = speak(server.uri, voice="joe", speaker="low", sample_rate_hz=24000)
        speak(server.uri, TTSOptions(voice="ann"), voice="joe", speaker="low")
        speak(server.uri, TTSOptions(language="de"))
    asked = [event.data.get("voice") for event in server.of_type("synthesize")]
    assert asked == [{"name": "joe", "speaker": "low"}, {"name": "ann"}, {"language": "de"}]
    heard = np.concatenate([chunk.frame.samples for chunk in chunks])
    expected = resample(tone(TEXT, 16000) / np.float32(32768.0), 16000, 24000)
    assert len(heard) == pytest.approx(len(expected), abs=2)
    assert {chunk.frame.rate_hz for chunk in chunks} == {24000}


@pytest.mark.parametrize(("width", "channels"), [(1, 1), (4, 2)])
def test_audio_of_other_forms_is_read(width: int, channels: int) -> None:
    form = {"rate": 22050, "width": width, "channels": channels}

    def script(event: Event) -> list[Any] | None:
        if event.type != "synthesize":
            return None
        samples = tone(TEXT).astype(np.float64) / 32768
        wide = samples * 127 + 128 if width == 1 else np.repeat(samples * 2147483647, 2)
        data = wide.astype(np.uint8 if width == 1 else "<i4").tobytes()
        return [AudioStart(**form).event(), AudioChunk(audio=data, **form).event(), AudioStop().event()]

    with WyomingStandin(script=script) as server:
        heard = np.concatenate([chunk.frame.samples for chunk in speak(server.uri)])
    np.testing.assert_allclose(heard, tone(TEXT) / 32768.0, atol=0.02 if width == 1 else 1e-4)


def test_the_first_chunk_comes_before_the_last_is_made_and_closing_ends_the_request() -> None:
    async def main() -> list[str]:
        with WyomingStandin(delay_s=0.02) as server:
            async with make("tts", server.uri, cache_mb=0) as tts:
                stream = tts.synthesize(TEXT)
                await anext(stream)
                assert server.spoken == []
                await stream.aclose()
                await asyncio.sleep(1.0)
                return server.spoken

    assert asyncio.run(main()) == [], "the server was left before it had finished"


def test_a_speed_is_refused_since_the_protocol_has_none() -> None:
    with WyomingStandin() as server, pytest.raises(EngineRequestInvalid, match="speed of 2"):
        speak(server.uri, TTSOptions(speed=2.0))


# ------------------------------------------------------------------------------------- what goes wrong


def answer(*parts: Any) -> Any:
    """A script: this in place of a transcript, and of speech."""
    return lambda event: list(parts) if event.type in ("audio-stop", "synthesize") else None


@pytest.mark.parametrize(
    ("parts", "kind", "told"),
    [
        ([error("no model is loaded")], EngineFailed, "says: no model is loaded"),
        ([error("", None)], EngineFailed, "no reason given"),
        ([error("32 connections are open", "full")], EngineOverloaded, "32 connections"),
        ([error("voice: an object", "bad-event")], EngineRequestInvalid, "voice: an object"),
        ([None], EngineFailed, "closed the connection without an answer"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n", None], EngineFailed, "no Wyoming event"),
        ([b'{"type": "transcript", "data_length": 99999999999}\n'], EngineFailed, "at most"),
        ([b'{"type": "audio-chunk", "payload_length": 100}\nabc', None], EngineFailed, "in the middle of an event"),
        ([Event("transcript", {"text": 7}), Event("audio-chunk", {"rate": "fast"}, b"1")], EngineFailed, "sent"),
    ],
)  # fmt: skip
def test_what_a_server_does_wrong_is_told_as_what_it_is(parts: Any, kind: type[Exception], told: str) -> None:
    with WyomingStandin(script=answer(*parts)) as server:
        for ask in (hear, speak):
            with pytest.raises(kind, match=told) as caught:
                ask(server.uri, max_retries=0)
            assert type(caught.value) is not EngineFailed or caught.value.stage in ("stt", "tts")


def test_a_server_that_keeps_one_waiting() -> None:
    with WyomingStandin(script=answer(5.0)) as server:
        for ask in (hear, speak):
            with pytest.raises(EngineTimeout, match="in time"):
                ask(server.uri, timeout_s=0.2)


def test_a_request_is_given_no_longer_than_its_ticket_allows() -> None:
    with WyomingStandin(script=answer(5.0)) as server:
        current_ticket.set(Ticket(timeout_s=0.1))
        try:
            with pytest.raises(EngineTimeout):
                hear(server.uri)
        finally:
            current_ticket.set(Ticket())


def test_speech_that_breaks_off_says_how_much_came() -> None:
    form = {"rate": 22050, "width": 2, "channels": 1}
    begun = [AudioStart(**form).event(), AudioChunk(audio=tone(TEXT)[:22050].tobytes(), **form).event()]
    with WyomingStandin(script=answer(*begun, None)) as server, pytest.raises(EngineFailed, match=r"partial: 0\.99 s"):
        speak(server.uri)
    assert len(server.of_type("synthesize")) == 1, "it is not said again from its beginning"
    with WyomingStandin(script=answer(*begun, 5.0)) as server, pytest.raises(EngineTimeout, match="partial"):
        speak(server.uri, stall_timeout_s=0.2)


def test_a_connection_that_breaks_before_any_answer_is_tried_again() -> None:
    for ask, kind in ((hear, "audio-stop"), (speak, "synthesize")):
        met: list[Event] = []

        def script(event: Event, kind: str = kind, met: list[Event] = met) -> list[Any] | None:
            if event.type != kind:
                return None
            met.append(event)
            return [None] if len(met) == 1 else None

        with WyomingStandin(script=script) as server:
            assert ask(server.uri)
        assert len(met) == 2


def test_nobody_there_is_told_with_what_to_look_at_and_is_no_error_at_loading() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    for ask in (hear, speak):
        with pytest.raises(EngineFailed, match=f"no connection to {uri}") as caught:
            ask(uri, max_retries=0)
        assert "uri right?" in caught.value.hint and caught.value.retryable


def test_a_server_that_comes_later_serves() -> None:
    async def main() -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        async with make("stt", f"tcp://127.0.0.1:{port}") as stt:
            with pytest.raises(EngineError):
                await stt.probe()
            with WyomingStandin() as server:
                stt.uri = server.uri
                await stt.probe()
                assert stt.capabilities.languages == ("en", "de")
                return str((await stt.transcribe(noise(1.0))).text)

    assert asyncio.run(main()) == "1.00 seconds of it"


def test_a_server_without_the_service_or_the_program_is_refused_at_loading() -> None:
    async def load(stage: str, uri: str, **values: Any) -> None:
        async with make(stage, uri, **values):
            pass

    with WyomingStandin(info=Info()) as server, pytest.raises(EngineLoadFailed, match="it offers no tts"):
        asyncio.run(load("tts", server.uri))
    with WyomingStandin() as server:
        with pytest.raises(EngineLoadFailed, match="no stt program 'other'; it has: listener"):
            asyncio.run(load("stt", server.uri, program="other"))
        asyncio.run(load("stt", server.uri, program="listener"))
        assert server.of_type("select-program")[-1].data == {"name": "listener"}


# ------------------------------------------------------------------------------------------- offline


def test_offline_another_machine_is_refused_at_loading() -> None:
    async def load(uri: str) -> None:
        async with make("stt", uri, warm_up=False):
            pass

    with pytest.raises(OfflineForbidden, match=r"10\.0\.0\.7"):
        asyncio.run(load("tcp://10.0.0.7:10300"))
    assert not make("stt", "tcp://10.0.0.7:10300", offline=False).capabilities.local
    asyncio.run(load("tcp://localhost:10300"))
    asyncio.run(load("unix:///run/whisper.sock"))


@pytest.mark.parametrize("uri", ["", "127.0.0.1:10300", "tcp://host", "http://host:1", "tcp://h:port", "unix:relative"])
def test_what_is_no_uri_is_refused(uri: str) -> None:
    for options in (WyomingSTTOptions, WyomingTTSOptions):
        with pytest.raises(ValueError, match="uri must be like"):
            options(uri=uri)
