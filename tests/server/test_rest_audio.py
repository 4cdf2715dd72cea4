"""OpenAI's audio calls, by OpenAI's own client and by plain HTTP, on scripted engines and on small real ones."""

from __future__ import annotations

import asyncio
import io
import json
import re
import shlex
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import av
import httpx2
import numpy as np
import openai
import pytest
import soundfile
from network_clock import run_networked
from scripted_config import GivenOptions
from served import config, serving, with_client

from antiphon.engines.audio import AudioFrame
from antiphon.engines.errors import (
    EngineFailed,
    EngineOutOfOrder,
    EngineOverloaded,
    EngineRequestInvalid,
    EngineTimeout,
)
from antiphon.engines.host import EngineHost
from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import STTCapabilities, STTOptions, Transcript, Word
from antiphon.engines.registry import EngineContext
from antiphon.engines.stt.openai import OpenAISTT, OpenAISTTOptions
from antiphon.engines.testing import Heard, ScriptedSTT, ScriptedTTS
from antiphon.pipeline.config import engine_block, load_config
from antiphon.pipeline.config.model import ServerConfig
from antiphon.server.rest.encoding import RATE_HZ
from antiphon.server.rest.errors import ApiError
from antiphon.server.rest.room import Room

WORDS = (Word("what", 0.1, 0.3), Word("time?", 0.3, 0.6))


def wav(seconds: float = 1.0, rate_hz: int = 16000, kind: str = "WAV", subtype: str = "PCM_16") -> bytes:
    out = io.BytesIO()
    tone = 0.2 * np.sin(np.arange(round(seconds * rate_hz)) / 9)
    soundfile.write(out, tone.astype(np.float32), rate_hz, format=kind, subtype=subtype)
    return out.getvalue()


def with_http(use: Callable[[httpx2.AsyncClient], Awaitable[Any]], given: Any = None) -> Any:
    async def main() -> Any:
        async with serving(given or config()) as (address, _):
            async with httpx2.AsyncClient(base_url=f"http://{address}") as client:
                return await use(client)

    return run_networked(main())


# ------------------------------------------------------------------------------------------ to text


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")],
)
def test_a_recording_of_any_kind_is_written_down(kind: str, subtype: str) -> None:
    async def use(client: openai.AsyncOpenAI) -> Any:
        data = wav(kind=kind, subtype=subtype)
        return await client.audio.transcriptions.create(model="whisper-1", file=("speech.bin", data))

    found = with_client(use)
    assert found.text == "what time is it"
    assert found.usage.type == "duration" and found.usage.seconds == pytest.approx(1.0, abs=0.1)


def test_the_other_forms_of_a_transcript() -> None:
    async def use(client: openai.AsyncOpenAI) -> dict[str, Any]:
        async def ask(**more: Any) -> Any:
            return await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", wav()), **more)

        return {
            "text": await ask(response_format="text"),
            "srt": await ask(response_format="srt"),
            "vtt": await ask(response_format="vtt"),
            "segments": await ask(response_format="verbose_json"),
            "words": await ask(response_format="verbose_json", timestamp_granularities=["word"]),
            "streamed": [event async for event in await ask(stream=True)],
        }

    found = with_client(use, config(stt=[Heard("what time?", words=WORDS)]))
    assert found["text"] == "what time?\n"
    assert found["srt"].startswith("1\n00:00:00,100 --> 00:00:00,600\nwhat time?")
    assert found["vtt"].startswith("WEBVTT\n\n00:00:00.100 --> 00:00:00.600\nwhat time?")
    verbose = found["segments"]
    assert (verbose.text, verbose.duration) == ("what time?", pytest.approx(1.0))
    assert [(one.start, one.end, one.text) for one in verbose.segments] == [(0.1, 0.6, "what time?")]
    assert verbose.words is None
    assert [(one.word, one.start, one.end) for one in found["words"].words] == [("what", 0.1, 0.3), ("time?", 0.3, 0.6)]
    assert [event.type for event in found["streamed"]] == ["transcript.text.delta", "transcript.text.done"]
    assert found["streamed"][-1].text == "what time?"


def test_a_long_recording_is_told_piece_by_piece() -> None:
    texts = iter(["One.", "", "Three."])
    starts: list[float] = []

    def hear(call: Any) -> Heard:
        starts.append(call.audio.start_s)
        return Heard(next(texts))

    async def use(client: openai.AsyncOpenAI) -> list[Any]:
        stream = await client.audio.transcriptions.create(model="gpt-transcribe", file=("a.wav", wav(65)), stream=True)
        return [event async for event in stream]

    *deltas, done = with_client(use, config(stt=hear))
    assert [(event.type, event.delta) for event in deltas] == [
        ("transcript.text.delta", "One."), ("transcript.text.delta", " Three."),
    ]  # fmt: skip
    assert (done.type, done.text) == ("transcript.text.done", "One. Three.")
    assert len(starts) == 3 and starts[0] == 0 and starts == sorted(starts)


def test_an_engine_that_breaks_in_the_middle_of_a_stream_is_told_in_it() -> None:
    async def use(client: openai.AsyncOpenAI) -> str:
        with pytest.raises(openai.InternalServerError):
            await client.audio.transcriptions.create(model="m", file=("a.wav", wav()), stream=True)
        text = ""
        stream = await client.audio.transcriptions.create(model="m", file=("a.wav", wav(40)), stream=True)
        with pytest.raises(openai.APIError, match="an engine of this server failed"):
            async for event in stream:
                text += event.delta
        return text

    script = [EngineFailed("deaf"), Heard("One."), EngineFailed("it broke")]
    assert with_client(use, config(stt=script, llm=(), repeat=False)) == "One."


def test_recordings_are_held_in_memory_by_twos() -> None:
    at_once: list[int] = []
    held = 0

    class Counting(ScriptedSTT):
        async def transcribe(self, audio: Any, options: Any = None) -> Any:
            nonlocal held
            held += 1
            at_once.append(held)
            await asyncio.sleep(0.1)
            held -= 1
            return Transcript("ja")

    async def use(client: openai.AsyncOpenAI) -> Any:
        async def ask(stream: bool) -> Any:
            answer: Any = await client.audio.transcriptions.create(model="m", file=("a.wav", wav()), stream=stream)
            return [event async for event in answer][-1].text if stream else answer.text

        return await asyncio.gather(*(ask(bool(number % 2)) for number in range(6)))

    stt = (engine_block("stt", "scripted_config:given", GivenOptions(engine=Counting())),)
    assert with_client(use, config().model_copy(update={"stt": stt})) == ["ja"] * 6
    assert max(at_once) == 2


def test_who_finds_no_room_is_told_to_come_again_and_who_brings_too_much_what_is_allowed() -> None:
    async def no_room() -> Any:
        room = Room(places=1, wait_s=0.05)
        async with room.place():
            with pytest.raises(ApiError) as caught:
                async with room.place():
                    raise AssertionError("there is one place")
        async with room.place():
            return caught.value

    error = run_networked(no_room())
    assert (error.status, error.code, error.retry_after_s) == (503, "overloaded", 0.05)

    async def use(client: openai.AsyncOpenAI) -> str:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.audio.transcriptions.create(model="m", file=("a.wav", wav(3)))
        return str(caught.value)

    assert "a.wav: the recording is longer than 2 s" in with_client(use, config({"max_recording_s": 2}))


def test_keywords_and_a_single_language_of_the_newer_clients_reach_the_engine() -> None:
    seen: list[Any] = []

    def hear(call: Any) -> Heard:
        seen.append(call.options)
        return Heard("ja")

    async def use(client: openai.AsyncOpenAI) -> Any:
        for languages in (["de"], ["de", "fr"]):
            await client.audio.transcriptions.create(
                model="m", file=("a.wav", wav()), keywords=["Antiphon", "Piper"], languages=languages
            )

    with_client(use, config(stt=hear))
    assert [(one.language, one.hotwords) for one in seen] == [("de", "Antiphon, Piper"), (None, "Antiphon, Piper")]


class Translator(ScriptedSTT):
    """Translates when it is asked to."""

    def __init__(self) -> None:
        capable = STTCapabilities(word_times=True, translates=True)
        super().__init__(self._hear, capabilities=capable)

    @staticmethod
    def _hear(call: Any) -> Heard:
        words = (Word("It", 0.1, 0.2), Word("is", 0.2, 0.3), Word("noon.", 0.3, 0.6))
        return Heard("It is noon." if call.options.translate else "Es ist Mittag.", language="de", words=words)


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the newest client's own, on this call
def test_speech_of_another_language_comes_as_english_where_the_engine_can() -> None:
    given = config().model_copy(
        update={"stt": (engine_block("stt", "scripted_config:given", GivenOptions(engine=Translator())),)}
    )

    async def use(client: openai.AsyncOpenAI) -> list[Any]:
        async def ask(**more: Any) -> Any:
            return await client.audio.translations.create(model="whisper-1", file=("a.wav", wav()), **more)

        forms = [await ask(), await ask(response_format="verbose_json"), await ask(response_format="srt")]
        return [*forms, await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", wav()))]

    plain, verbose, srt, written = with_client(use, given)
    assert (plain.text, written.text) == ("It is noon.", "Es ist Mittag.")
    assert (verbose.text, verbose.language, verbose.task) == ("It is noon.", "english", "translate")
    assert [one.text for one in verbose.segments] == ["It is noon."]
    assert srt.startswith("1\n00:00:00,100 --> 00:00:00,600\nIt is noon.")


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_our_own_engine_for_servers_like_this_one_translates_by_it() -> None:
    async def main() -> list[Any]:
        given = config().model_copy(
            update={"stt": (engine_block("stt", "scripted_config:given", GivenOptions(engine=Translator())),)}
        )
        second = AudioFrame(np.full(16000, 0.1, np.float32), 16000)
        async with serving(given) as (address, _):
            told: list[Any] = []
            for model in ("whisper-1", "gpt-transcribe"):
                options = OpenAISTTOptions(base_url=f"http://{address}/v1", model=model, warm_up=False)
                async with OpenAISTT(options, EngineContext(EngineHost(), ModelStore())) as stt:
                    told.append(stt.capabilities.translates)
                    try:
                        told.append((await stt.transcribe(second, STTOptions(translate=True, language="de"))).text)
                    except EngineRequestInvalid as error:
                        told.append(error.message)
            return told

    assert run_networked(main()) == [True, "It is noon.", False, "the model 'gpt-transcribe' cannot translate"]


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_an_engine_that_cannot_translate_says_so() -> None:
    async def use(client: openai.AsyncOpenAI) -> Any:
        with pytest.raises(openai.BadRequestError, match="multilingual") as caught:
            await client.audio.translations.create(model="whisper-1", file=("a.wav", wav()))
        return caught.value.code

    assert with_client(use) == "not_supported"


def test_a_client_that_has_gone_is_not_worked_for() -> None:
    ended: list[str] = []

    class Slow(ScriptedSTT):
        async def transcribe(self, audio: Any, options: Any = None) -> Any:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append("ended")

    stt = (engine_block("stt", "scripted_config:given", GivenOptions(engine=Slow())),)

    async def use(client: httpx2.AsyncClient) -> None:
        with pytest.raises(httpx2.TimeoutException):
            await client.post(
                "/v1/audio/transcriptions", files={"file": ("a.wav", wav())}, data={"model": "m"}, timeout=0.3
            )
        async with asyncio.timeout(60):
            while not ended:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    with_http(use, config().model_copy(update={"stt": stt}))
    assert ended == ["ended"]


def test_language_and_prompt_reach_the_engine() -> None:
    seen: list[Any] = []

    def hear(call: Any) -> Heard:
        seen.append(call.options)
        return Heard("ja")

    async def use(client: openai.AsyncOpenAI) -> Any:
        return await client.audio.transcriptions.create(
            model="whisper-1", file=("a.wav", wav()), language="de", prompt="Antiphon, Piper"
        )

    with_client(use, config(stt=hear))
    assert (seen[0].language, seen[0].prompt) == ("de", "Antiphon, Piper")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "speech.wav: the file is empty"),
        (b"RIFF\x00", "speech.wav: the WAV header is cut off"),
        (b"this is no audio at all", "speech.wav: this is no audio that can be read here"),
    ],
)
def test_what_is_no_recording_is_told_with_its_name(data: bytes, told: str) -> None:
    async def use(client: openai.AsyncOpenAI) -> str:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.audio.transcriptions.create(model="whisper-1", file=("/some/where/speech.wav", data))
        assert caught.value.code == "invalid_audio"
        return str(caught.value)

    message = with_client(use)
    assert told in message
    assert "antiphon-" not in message and "/tmp" not in message, "where it was kept is nobody's business"


# ---------------------------------------------------------------------------------------- to speech


@pytest.mark.parametrize("kind", ["wav", "flac", "opus", "mp3", "aac", "pcm"])
def test_speech_in_every_format_is_the_same_sound(kind: Any) -> None:
    async def use(client: openai.AsyncOpenAI) -> bytes:
        answer = await client.audio.speech.create(
            model="tts-1", voice="alloy", input="It is noon in Vienna.", response_format=kind
        )
        return answer.read()

    data = with_client(use)
    if kind == "pcm":
        samples, rate_hz = np.frombuffer(data, "<i2") / 32768, RATE_HZ
    elif kind == "aac":
        with av.open(io.BytesIO(data)) as container:
            rate_hz = container.streams.audio[0].rate
            samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    else:
        samples, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32")
        assert samples.ndim == 1
    assert rate_hz == RATE_HZ
    seconds = len("It is noon in Vienna.") * 0.06
    assert len(samples) / rate_hz == pytest.approx(seconds, abs=0.1)
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * rate_hz / len(samples) == pytest.approx(440, abs=3), "the scripted voice's tone"


def test_the_first_bytes_leave_while_the_rest_is_being_spoken() -> None:
    async def use(client: httpx2.AsyncClient) -> list[float]:
        loop = asyncio.get_running_loop()
        asked = {"model": "tts-1", "voice": "alloy", "input": "One two three four five six.", "response_format": "wav"}
        began_s, times = loop.time(), []
        async with client.stream("POST", "/v1/audio/speech", json=asked) as answer:
            assert answer.headers["content-type"] == "audio/wav"
            async for _ in answer.aiter_raw():
                times.append(loop.time() - began_s)
        return times

    times = with_http(use, config(tts=ScriptedTTS(chunk_delay_s=0.25)))
    assert len(times) >= 3 and times[-1] - times[0] > 0.5


def test_speech_as_events() -> None:
    async def use(client: httpx2.AsyncClient) -> str:
        asked = {"model": "tts-1", "voice": {"id": "v"}, "input": "Hello.", "response_format": "pcm"}
        answer = await client.post("/v1/audio/speech", json={**asked, "stream_format": "sse"})
        assert answer.headers["content-type"].startswith("text/event-stream")
        return answer.text

    events = [json.loads(line.removeprefix("data: ")) for line in with_http(use).split("\n\n") if line]
    assert [event["type"] for event in events][-1] == "speech.audio.done"
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}


def test_a_client_that_has_heard_enough_stops_the_voice() -> None:
    voice = ScriptedTTS(chunk_delay_s=0.05)
    text = "A long text. " * 100

    async def use(client: httpx2.AsyncClient) -> None:
        asked = {"model": "m", "voice": "v", "input": text, "response_format": "pcm"}
        async with client.stream("POST", "/v1/audio/speech", json=asked) as answer:
            async for _ in answer.aiter_raw():
                break
        async with asyncio.timeout(60):
            while asked_for()[0].outcome == "running":  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    def asked_for() -> list[Any]:
        return [call for call in voice.calls if call.text.startswith("A long text.")]

    with_http(use, config(tts=voice))
    assert asked_for()[0].outcome != "done"


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": "x" * 5000}, "input"),
        ({"speed": 0.1}, "speed"),
        ({"speed": "quick"}, "speed"),
        ({"response_format": "midi"}, "response_format"),
        ({"voice": 5}, "voice"),
        ({"voice": {"id": 5}}, "voice.id"),
        ({"voice": {"name": "alloy"}}, "voice.id"),
        ({"input": "\u0000 *** "}, "input"),
    ],
)
def test_what_cannot_be_said_is_told(asked: dict[str, Any], param: str) -> None:
    async def use(client: httpx2.AsyncClient) -> Any:
        body = {"model": "tts-1", "voice": "alloy", "input": "Hello.", **asked}
        return await client.post("/v1/audio/speech", json=body)

    answer = with_http(use)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error" and error["param"] == param
    assert error["message"].startswith(param) or param in ("input", "voice")


# ------------------------------------------------------------------------------------ names, errors


def test_models_are_listed_and_unknown_ones_refused_where_that_is_wanted() -> None:
    async def use(client: openai.AsyncOpenAI) -> Any:
        names = [model.id async for model in client.models.list()]
        assert (await client.models.retrieve("tts-1")).id == "tts-1"
        with pytest.raises(openai.NotFoundError, match="there is no model 'other'"):
            await client.models.retrieve("other")
        with pytest.raises(openai.NotFoundError, match="'other' is not known here; known: tts-1"):
            await client.audio.speech.create(model="other", voice="alloy", input="Hello.")
        with pytest.raises(openai.BadRequestError, match="'nova' is not known here; known: alloy"):
            await client.audio.speech.create(model="tts-1", voice="nova", input="Hello.")
        assert (await client.audio.speech.create(model="tts-1", voice="alloy", input="Hello.")).read()
        return names

    aliases = {"models": {"tts-1": "default"}, "voices": {"alloy": "default"}}
    assert with_client(use, config({"aliases": aliases})) == ["tts-1", "antiphon-agent"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (EngineFailed("http://10.0.0.7/v1 broke"), 500, "engine_failed"),
        (EngineTimeout("no connection to http://10.0.0.7/v1 in time"), 504, "timeout"),
        (EngineOverloaded("too many wait"), 503, "overloaded"),
        (EngineRequestInvalid("no such thing"), 400, "invalid_request"),
        (EngineRequestInvalid("too many words", about="length"), 400, "context_length_exceeded"),
    ],
)
def test_what_an_engine_says_has_a_status(error: Exception, status: int, code: str) -> None:
    async def use(client: httpx2.AsyncClient) -> Any:
        return await client.post("/v1/audio/speech", json={"model": "m", "voice": "v", "input": "Hello."})

    answer = with_http(use, config(tts=ScriptedTTS([error], repeat=True)))
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert ("retry-after" in answer.headers) == (status == 503)
    assert "10.0.0.7" not in answer.text, "what stands behind the server is for its log"


def test_wrong_paths_methods_and_bodies_have_the_same_form() -> None:
    async def use(client: httpx2.AsyncClient) -> list[tuple[int, str]]:
        answers = [
            await client.get("/v1/nothing"),
            await client.get("/v1/realtime"),
            await client.get("/v1/audio/speech"),
            await client.post("/v1/audio/speech", content=b"{", headers={"Content-Type": "application/json"}),
            await client.post("/v1/audio/speech", json=[]),
            await client.post("/v1/audio/transcriptions", data={"model": "whisper-1"}),
            await client.post("/v1/audio/translations", data={"model": "m"}, files={"file": ("a.wav", wav())}),
            await client.post(
                "/v1/audio/transcriptions", data={"model": "m"}, files={"file": ("a.wav", bytes(2_000_000))}
            ),
        ]
        assert all(set(one.json()["error"]) == {"message", "type", "param", "code"} for one in answers)
        return [(one.status_code, one.json()["error"]["code"]) for one in answers]

    assert with_http(use, config({"max_upload_mb": 1})) == [
        (404, "not_found"),
        (426, "websocket_required"),
        (405, "method_not_allowed"),
        (400, "invalid_request"),
        (400, "invalid_request"),
        (400, "invalid_request"),
        (400, "not_supported"),
        (413, "too_large"),
    ]


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_the_sync_client_works_over_all_of_it() -> None:
    given = config().model_copy(
        update={"stt": (engine_block("stt", "scripted_config:given", GivenOptions(engine=Translator())),)}
    )

    def use(address: str) -> list[Any]:
        with openai.OpenAI(base_url=f"http://{address}/v1", api_key="any", max_retries=0) as client:
            spoken = client.audio.speech.create(
                model="tts-1", voice="alloy", input="It is noon.", response_format="wav"
            )
            file = ("a.wav", spoken.read())
            with client.audio.speech.with_streaming_response.create(
                model="tts-1", voice="alloy", input="It is noon.", response_format="pcm"
            ) as answer:
                assert sum(len(piece) for piece in answer.iter_bytes()) > 1000
            events = list(client.audio.transcriptions.create(model="whisper-1", file=file, stream=True))
            chunks = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}], stream=True)
            return [
                client.audio.transcriptions.create(model="whisper-1", file=file).text,
                events[-1].text,
                client.audio.translations.create(model="whisper-1", file=file).text,
                "".join(chunk.choices[0].delta.content or "" for chunk in chunks),
                "antiphon-agent" in [model.id for model in client.models.list()],
            ]

    async def main() -> list[Any]:
        async with serving(given) as (address, _):
            return await asyncio.to_thread(use, address)

    assert run_networked(main()) == ["Es ist Mittag.", "Es ist Mittag.", "It is noon.", "It is noon.", True]


def test_what_may_be_done_at_a_path_is_told_whole() -> None:
    async def use(client: httpx2.AsyncClient) -> list[str]:
        paths = ("/v1/sessions/x", "/v1/audio/speech", "/v1/models")
        return [(await client.options(path)).headers["allow"] for path in paths]

    assert with_http(use) == ["DELETE, PATCH", "POST", "GET"]


def test_a_body_of_unannounced_length_is_bounded_too() -> None:
    async def use(client: httpx2.AsyncClient) -> int:
        async def endless() -> Any:
            for _ in range(3000):
                yield bytes(1000)

        answer = await client.post("/v1/audio/speech", content=endless(), headers={"Content-Type": "application/json"})
        return int(answer.status_code)

    assert with_http(use, config({"max_upload_mb": 1})) == 413


def test_the_description_names_every_call() -> None:
    async def use(client: httpx2.AsyncClient) -> Any:
        return (await client.get("/openapi.json")).json()

    paths = with_http(use)["paths"]
    assert {"/v1/audio/transcriptions", "/v1/audio/speech", "/v1/models", "/healthz", "/readyz"} <= paths.keys()


@pytest.mark.real
@pytest.mark.timeout(900)
def test_what_our_voice_says_our_ear_hears(tmp_path: Path) -> None:
    text = "Yesterday the weather was beautiful, and the children played near the river."

    async def use(client: openai.AsyncOpenAI) -> list[str]:
        heard = []
        for kind in ("opus", "mp3", "wav"):
            said = await client.audio.speech.create(model="tts-1", voice="alloy", input=text, response_format=kind)
            found = await client.audio.transcriptions.create(model="whisper-1", file=(f"a.{kind}", said.read()))
            heard.append(found.text)
        return heard

    given = load_config("tiny.yaml").model_copy(update={"server": ServerConfig(port=0)})
    for heard in with_client(use, given):
        assert re.findall(r"\w+", heard.lower()) == re.findall(r"\w+", text.lower()), heard


@pytest.mark.parametrize(("container", "codec"), [("webm", "libopus"), ("mp4", "aac")])
def test_what_browsers_and_phones_record(tmp_path: Path, container: str, codec: str) -> None:
    path = tmp_path / f"recording.{container}"
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=48000, layout="mono")
        for _ in range(5):
            tone = (0.2 * np.sin(np.arange(9600) / 9)).astype(np.float32).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            frame.sample_rate = 48000
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))

    async def use(client: openai.AsyncOpenAI) -> Any:
        with pytest.raises(openai.BadRequestError, match="no audio that can be read"):
            await client.audio.transcriptions.create(model="m", file=("x.webm", path.read_bytes()[:40]))
        return await client.audio.transcriptions.create(model="m", file=path)

    assert with_client(use).usage.seconds == pytest.approx(1.0, abs=0.1)


def test_the_calls_of_the_page(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "server.md").read_text("utf-8")
    commands = [shlex.split(line) for line in page.splitlines() if line.startswith("    curl ")]
    assert len(commands) == 8

    async def main() -> list[str]:
        said = []
        async with serving(config()) as (address, _):
            for command in commands:
                words = [word.replace("127.0.0.1:8080", address) for word in command]
                process = await asyncio.create_subprocess_exec(
                    *words, "--silent", "--show-error", "--fail-with-body", cwd=tmp_path, stdout=subprocess.PIPE
                )
                said.append((await process.communicate())[0].decode())
                assert process.returncode == 0, said[-1]
        return said

    _, json_text, srt, events, chat, agent, models, ready = asyncio.run(main())
    assert soundfile.info(tmp_path / "answer.wav").samplerate == RATE_HZ
    assert json.loads(json_text)["text"] == "what time is it"
    assert srt.startswith("1\n00:00:00,000 --> ")
    assert events.count("data: ") == 2 and "transcript.text.done" in events
    for answer in (chat, agent):
        assert json.loads(answer)["choices"][0]["message"]["content"] == "It is noon."
    assert json.loads(models)["object"] == "list"
    assert json.loads(ready)["status"] == "ready"


def test_engines_that_hang_are_not_waited_for() -> None:
    async def use(client: openai.AsyncOpenAI) -> list[Any]:
        told: list[Any] = []
        for ask in (
            client.audio.transcriptions.create(model="whisper-1", file=("a.wav", wav(0.1))),
            client.audio.speech.create(model="tts-1", voice="alloy", input="One two."),
        ):
            with pytest.raises(openai.InternalServerError) as caught:
                await ask
            told.append((caught.value.status_code, caught.value.code))
        return told

    limits = {"on_error": "", "stt_deadline_s": 0.2, "tts_deadline_s": 0.2}
    given = config(stt=[Heard("late", 1e6)], tts=ScriptedTTS(first_delay_s=1e6), session=limits)
    assert with_client(use, given) == [(504, "timeout")] * 2


@pytest.mark.parametrize(
    ("error", "code", "after"),
    [
        (EngineOutOfOrder("not now", retry_after_s=6.3), "out_of_order", "7"),
        (EngineOutOfOrder("now", retry_after_s=0.0), "out_of_order", "1"),
        (EngineOverloaded("full"), "overloaded", "2"),
        (EngineOverloaded("full", retry_after_s=20.0), "overloaded", "20"),
    ],
)
def test_an_engine_that_is_not_asked_now_says_when(error: Exception, code: str, after: str) -> None:
    async def use(client: httpx2.AsyncClient) -> Any:
        return await client.post(
            "/v1/audio/transcriptions", files={"file": ("a.wav", wav())}, data={"model": "whisper-1"}
        )

    answer = with_http(use, config(stt=[error], llm=(), repeat=False))
    assert (answer.status_code, answer.json()["error"]["code"], answer.headers["retry-after"]) == (503, code, after)
