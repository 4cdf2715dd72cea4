"""The STT engine `openai` against the stand-in."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from network_clock import until
from openai_standin import Heard, Int16, OpenAIStandin

from antiphon.engines.audio import AudioFrame, Samples
from antiphon.engines.errors import EngineError, EngineFailed, EngineRequestInvalid, EngineTimeout
from antiphon.engines.host import EngineHost, Ticket, current_ticket
from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import STTOptions, Transcript
from antiphon.engines.registry import EngineContext
from antiphon.engines.stt.openai import OpenAISTT, OpenAISTTOptions, create
from antiphon.engines.stt.openai_languages import CODES, language_code

PATH = "/audio/transcriptions"


def engine(server: OpenAIStandin, **values: Any) -> OpenAISTT:
    values = {"model": "whisper-1", "warm_up": False, **values}
    return create(OpenAISTTOptions(base_url=server.base_url, **values), EngineContext(EngineHost(), ModelStore()))


def noise(seconds: float = 1.0, rate_hz: int = 16000) -> Samples:
    return np.random.default_rng(1).uniform(-0.9, 0.9, int(seconds * rate_hz)).astype(np.float32)


def hear(
    server: OpenAIStandin, samples: Samples | None = None, options: STTOptions | None = None, *, rate_hz: int = 16000,
    **values: Any,
) -> Transcript:  # fmt: skip
    async def main() -> Transcript:
        async with engine(server, **values) as stt:
            frame = AudioFrame(noise() if samples is None else samples, rate_hz)
            return await stt.transcribe(frame, options or STTOptions())

    transcript = asyncio.run(main())
    assert not server.invalid, server.invalid
    return transcript


# ------------------------------------------------------------------------------------------------ upload


@pytest.mark.parametrize("rate_hz", [8000, 16000, 48000])
def test_the_server_gets_the_audio(rate_hz: int) -> None:
    got: list[tuple[Int16, int]] = []

    def listen(samples: Int16, rate: int) -> str:
        got.append((samples, rate))
        return " hello there \n"

    sent = noise(0.5, rate_hz)
    with OpenAIStandin(transcript=listen) as server:
        assert hear(server, sent, rate_hz=rate_hz).text == "hello there"
    samples, rate = got[0]
    assert rate == rate_hz
    np.testing.assert_allclose(samples / 32767.0, sent, atol=1 / 32767)


@pytest.mark.parametrize(
    "samples",
    [np.zeros(0, np.float32), noise(0.05), np.zeros(16000, np.float32), np.full(16000, 5e-5, np.float32)],
    ids=["empty", "short", "zeros", "hardly anything"],
)
def test_nobody_is_asked_about_nothing(samples: Samples) -> None:
    with OpenAIStandin(transcript="Thank you for watching!") as server:
        assert hear(server, samples) == Transcript("")
        assert not server.requests


def test_audio_that_is_out_of_range_or_not_a_number() -> None:
    samples = noise()
    samples[:100], samples[100:200], samples[200] = np.nan, 7.0, -np.inf
    got: list[Int16] = []

    def listen(heard: Int16, rate: int) -> str:
        got.append(heard)
        return "hello"

    with OpenAIStandin(transcript=listen) as server:
        assert hear(server, samples).text == "hello"
    assert not got[0][:100].any() and (got[0][100:200] == 32767).all()


def test_ten_minutes() -> None:
    seconds: list[float] = []

    def listen(samples: Int16, rate: int) -> str:
        seconds.append(len(samples) / rate)
        return "long"

    with OpenAIStandin(transcript=listen) as server:
        assert hear(server, np.tile(noise(60.0), 10)).text == "long"
    assert seconds == [600.0]


# --------------------------------------------------------------------------------------------- transcript


def test_verbose_json_gives_what_it_has() -> None:
    with OpenAIStandin(transcript=Heard("guten Tag", "german", 0.02, -0.3)) as server:
        transcript = hear(server, options=STTOptions(word_times=True))
    assert transcript.text == "guten Tag" and transcript.language == "de" and transcript.final
    assert (transcript.no_speech_probability, transcript.average_logprob) == (0.02, -0.3)
    assert [(w.text, w.start_s, w.end_s) for w in transcript.words or ()] == [("guten", 0.0, 0.5), ("Tag", 0.5, 1.0)]


def test_word_times_cost_and_are_not_asked_for_unless_wanted() -> None:
    with OpenAIStandin() as server:
        assert hear(server).words is None
        assert "timestamp_granularities" not in server.bodies(PATH)[0]


def test_language_codes_are_understood_too() -> None:
    with OpenAIStandin(quirks=["language_codes"]) as server:
        assert hear(server).language == "en"


def test_what_is_invented_on_noise_is_no_text() -> None:
    with OpenAIStandin(transcript=Heard("Thanks for watching!", "english", 0.9, -1.4)) as server:
        transcript = hear(server, options=STTOptions(word_times=True))
        assert (transcript.text, transcript.rejected_text, transcript.words) == ("", "Thanks for watching!", ())
        assert hear(server, no_speech_probability=None).text == "Thanks for watching!"


def test_sure_words_are_kept_though_silence_seemed_likely() -> None:
    with OpenAIStandin(transcript=Heard("Yes.", "english", 0.9, -0.2)) as server:
        assert hear(server).text == "Yes."


def test_language_names() -> None:
    assert len(set(CODES.values())) == 100
    for said, code in {"English": "en", "en-US": "en", "haitian creole": "ht", "burmese": "my", "yue": "yue"}.items():
        assert language_code(said) == code
    assert [language_code(said) for said in (None, "", "klingonese", "12")] == [None] * 4


# ----------------------------------------------------------------------------------------------- request


def test_options_of_the_engine_and_of_the_request() -> None:
    with OpenAIStandin(extra_fields=["vad_filter"]) as server:
        hear(server, language="de", prompt="Fachwörter.", temperature=0.0, extra_body={"vad_filter": "true"})
        body = server.bodies(PATH)[-1]
        assert {key: body[key] for key in body if key != "file"} == {
            "model": "whisper-1", "language": "de", "prompt": "Fachwörter.", "temperature": 0.0,
            "response_format": "verbose_json", "vad_filter": "true",
        }  # fmt: skip
        hear(server, options=STTOptions("fr", "Bonjour.", "Antiphon, Piper"), language="de", prompt="Fachwörter.")
        body = server.bodies(PATH)[-1]
    assert (body["language"], body["prompt"]) == ("fr", "Antiphon, Piper Bonjour.")


def test_the_model_that_takes_lists_gets_lists() -> None:
    with OpenAIStandin() as server:
        hear(server, options=STTOptions("fr", hotwords="Antiphon, Piper"), model="gpt-transcribe")
        body = server.bodies(PATH)[0]
    assert body["languages"] == ["fr"] and body["keywords"] == ["Antiphon", "Piper"]
    assert "language" not in body and "prompt" not in body and body["response_format"] == "json"


@pytest.mark.parametrize(
    ("model", "wanted", "word_times"),
    [
        ("whisper-1", "auto", True),
        ("Systran/faster-whisper-base", "auto", True),
        ("gpt-4o-transcribe", "auto", False),
        ("whisper-1", "json", False),
        ("parakeet", "verbose_json", True),
    ],
)
def test_form_of_the_answer(model: str, wanted: Any, word_times: bool) -> None:
    with OpenAIStandin() as server:
        assert engine(server, model=model, response_format=wanted).capabilities.word_times is word_times
        hear(server, model=model, response_format=wanted)
        assert (server.bodies(PATH)[0]["response_format"] == "verbose_json") is word_times


def test_a_server_without_verbose_json_is_asked_once() -> None:
    async def main() -> None:
        async with engine(server) as stt:
            for _ in range(2):
                transcript = await stt.transcribe(AudioFrame(noise(), 16000), STTOptions(word_times=True))
                assert transcript.text == "hello" and transcript.words is None
            assert not stt.capabilities.word_times

    with OpenAIStandin(quirks=["no_verbose_json"]) as server:
        asyncio.run(main())
        assert [body["response_format"] for body in server.bodies(PATH)] == ["verbose_json", "json", "json"]
        with pytest.raises(EngineRequestInvalid, match="verbose_json"):
            hear(server, response_format="verbose_json")


# ----------------------------------------------------------------------------------------------- trouble


@pytest.mark.parametrize("kind", ["429", "500", "half", "drop"])
def test_tries_again(kind: str) -> None:
    with OpenAIStandin() as server:
        server.fail_next(kind, retry_after=0.01)
        assert hear(server).text == "hello"
        assert len(server.requests) == 2


@pytest.mark.parametrize("kind", ["hang", "stall"])
def test_the_whole_answer_has_a_deadline(kind: str) -> None:
    with OpenAIStandin() as server:
        server.fail_next(kind, times=2)
        with pytest.raises(EngineTimeout, match=r"within 0\.8 s"):
            hear(server, timeout_s=0.8)  # long enough for the request to arrive, on a busy machine too
        assert server.requests[0].left_early.wait(5)

        async def with_ticket() -> None:
            current_ticket.set(Ticket(timeout_s=0.3))
            async with engine(server) as stt:
                await stt.transcribe(AudioFrame(noise(), 16000))

        with pytest.raises(EngineTimeout, match=r"within 0\.3 s"):
            asyncio.run(with_ticket())


def test_an_answer_that_cannot_be_read() -> None:
    with OpenAIStandin() as server:
        server.fail_next("garbage")
        with pytest.raises(EngineFailed) as caught:
            hear(server)
    assert caught.value.stage == "stt"


@pytest.mark.parametrize(
    ("status", "kind"),
    [("400", EngineRequestInvalid), ("401", EngineFailed), ("404", EngineFailed), ("413", EngineRequestInvalid)],
)
def test_refusals(status: str, kind: type[Exception]) -> None:
    with OpenAIStandin() as server:
        server.fail_next(status)
        with pytest.raises(kind, match=status) as caught:
            hear(server)
        assert len(server.requests) == 1
    assert caught.value.stage == "stt"


@pytest.mark.parametrize("result", ["plain text", None, object()])
def test_a_result_of_another_form(result: Any) -> None:
    with OpenAIStandin() as server:
        stt = engine(server)

        async def send(*_: Any) -> Any:
            return result

        async def main() -> None:
            stt._create = send  # type: ignore[method-assign]
            async with stt:
                await stt.transcribe(AudioFrame(noise(), 16000))

        with pytest.raises(EngineFailed, match="no transcript"):
            asyncio.run(main())


def test_cancelling_ends_the_request() -> None:
    async def main() -> None:
        async with engine(server) as stt:
            asking = asyncio.create_task(stt.transcribe(AudioFrame(noise(), 16000)))
            await until(lambda: server.requests)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert await asyncio.to_thread(server.requests[0].left_early.wait, 60)

    with OpenAIStandin() as server:
        server.fail_next("hang")
        asyncio.run(main())


def test_many_at_once() -> None:
    async def main() -> None:
        async with engine(server) as stt:
            frames = [AudioFrame(noise(n / 10), 16000) for n in range(2, 8)]
            transcripts = await asyncio.gather(*(stt.transcribe(frame) for frame in frames))
            assert [t.text for t in transcripts] == [str(len(frame.samples)) for frame in frames]

    with OpenAIStandin(transcript=lambda samples, rate: str(len(samples))) as server:
        asyncio.run(main())


def test_errors_are_engine_errors() -> None:
    """Whatever happens, a caller needs to know one family of errors."""
    with OpenAIStandin() as server:
        for kind in ("418", "500", "garbage", "half"):
            server.fail_next(kind)
            with pytest.raises(EngineError):
                hear(server, max_retries=0)
