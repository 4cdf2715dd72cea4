"""The engine on the small real models."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.engines.audio import AudioFrame, Samples, resample
from antiphon.engines.errors import EngineFailed, EngineLoadFailed, EngineRequestInvalid, UnknownModel
from antiphon.engines.host import EngineHost, Priority, Ticket, current_ticket
from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import STTOptions, Transcript
from antiphon.engines.registry import EngineContext
from antiphon.engines.stt.faster_whisper import FasterWhisper, FasterWhisperOptions, create

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

CLIPS = Path(os.environ.get("ANTIPHON_CLIPS", Path(__file__).parents[2].parent / "shared" / "audio"))
needs_clips = pytest.mark.skipif(not CLIPS.exists(), reason="needs the human clip set")
RATE = 16_000
BRIDGE = "google_docs_samples__brooklyn_bridge.wav"


def clip(name: str) -> AudioFrame:
    from antiphon.pipeline.audio_file import read_audio

    return read_audio(CLIPS / name)


def said(transcript: Transcript) -> str:
    return "".join(c for c in transcript.text.lower() if c.isalnum() or c == " ")


@asynccontextmanager
async def entered(**options: Any) -> AsyncIterator[FasterWhisper]:
    host = EngineHost()
    context = EngineContext(host, ModelStore())
    try:
        async with create(FasterWhisperOptions.model_validate(options), context) as engine:
            yield engine
    finally:
        await host.close()


def using(work: Callable[[FasterWhisper], Awaitable[Any]], **options: Any) -> Any:
    """Run `work` with an entered engine."""

    async def run() -> Any:
        async with entered(**options) as engine:
            return await work(engine)

    return asyncio.run(run())


def heard(audio: AudioFrame, request: STTOptions = STTOptions(), **options: Any) -> Transcript:  # noqa: B008
    result: Transcript = using(lambda engine: engine.transcribe(audio, request), **options)
    return result


def tone(seconds: float, level: float = 0.3) -> Samples:
    t = np.arange(int(seconds * RATE)) / RATE
    return (level * np.sin(2 * np.pi * 440 * t)).astype(np.float32)


# ------------------------------------------------------------------------------------ nothing to hear


@pytest.mark.parametrize("model", ["whisper-tiny.en", "whisper-base"])
def test_what_is_no_speech_gives_no_text(model: str) -> None:
    rng = np.random.default_rng(7)
    t = np.arange(4 * RATE) / RATE
    chords = sum(np.sin(2 * np.pi * f * t) * np.exp(-3 * (t % 0.5)) for f in (262, 330, 392, 523))
    hum = sum(np.sin(2 * np.pi * 50 * k * t) / k for k in (1, 2, 3, 4, 6))
    sounds: dict[str, Samples] = {
        "empty": np.zeros(0),
        "one sample": np.full(1, 0.5),
        "10 ms": tone(0.01),
        "silence": np.zeros(3 * RATE),
        "hiss": rng.standard_normal(4 * RATE) * 0.02,
        "loud noise": np.clip(rng.standard_normal(4 * RATE), -1, 1),
        "tone": tone(3.0),
        "hum": hum / 4,
        "music": np.asarray(chords) / 5,
        "all NaN": np.full(RATE, np.nan),
        "clipped": np.sign(tone(2.0)),
    }  # type: ignore[dict-item]

    async def listen(engine: FasterWhisper) -> dict[str, str]:
        return {
            name: (await engine.transcribe(AudioFrame(samples.astype(np.float32), RATE))).text
            for name, samples in sounds.items()
        }

    assert using(listen, model=model) == dict.fromkeys(sounds, "")


def test_silence_is_not_even_decoded() -> None:
    found = heard(AudioFrame(np.zeros(5 * RATE, np.float32), RATE))
    assert (found.text, found.rejected_text, found.no_speech_probability) == ("", "", None)


def test_what_was_thrown_away_is_still_told() -> None:
    noise = np.random.default_rng(1).standard_normal(3 * RATE).astype(np.float32) * 0.03
    found = heard(AudioFrame(noise, RATE))
    assert found.text == ""
    assert found.rejected_text
    assert found.no_speech_probability is not None


# --------------------------------------------------------------------------------------- speech


@needs_clips
@pytest.mark.clips
def test_a_question_and_its_word_times() -> None:
    audio = clip(BRIDGE)
    found = heard(audio, STTOptions(word_times=True))
    assert said(found) == "how old is the brooklyn bridge"
    assert found.words is not None
    assert " ".join(w.text for w in found.words) == found.text
    starts = [w.start_s for w in found.words]
    assert starts == sorted(starts)
    assert all(0 <= w.start_s <= w.end_s <= audio.duration_s for w in found.words)
    assert all(w.probability is not None and 0 < w.probability <= 1 for w in found.words)
    assert found.language == "en"


@needs_clips
@pytest.mark.clips
def test_word_times_keep_the_pauses() -> None:
    words = heard(clip("whisper__jfk.wav"), word_times=True).words
    assert words is not None
    by_text = {w.text.strip(".,").lower(): w for w in reversed(words)}
    assert by_text["americans"].end_s < 2.6
    assert by_text["not"].start_s > 3.3  # "ask not" comes after a pause of a second


@needs_clips
@pytest.mark.clips
@pytest.mark.parametrize("rate_hz", [8000, 22_050, 48_000])
def test_other_rates_are_resampled(rate_hz: int) -> None:
    audio = clip(BRIDGE)
    other = AudioFrame(resample(audio.samples, RATE, rate_hz), rate_hz)
    assert said(heard(other)) == "how old is the brooklyn bridge"


@needs_clips
@pytest.mark.clips
def test_bad_samples_do_no_harm() -> None:
    samples = clip(BRIDGE).samples.copy()
    samples[:50] = np.nan
    samples[60:70] = np.inf
    assert said(heard(AudioFrame(samples, RATE))) == "how old is the brooklyn bridge"


@needs_clips
@pytest.mark.clips
def test_clipped_speech_is_understood() -> None:
    loud = np.clip(clip(BRIDGE).samples * 20, -1, 1)
    assert "brooklyn bridge" in said(heard(AudioFrame(loud, RATE)))


@needs_clips
@pytest.mark.clips
def test_a_clip_that_loops_on_a_short_window_is_said_once() -> None:
    assert said(heard(clip("pocketsphinx__cards_001.wav"), window_floor_s=8.0)) in ("10 of clubs", "ten of clubs")


@needs_clips
@pytest.mark.clips
def test_an_agreed_prefix_leads_to_the_same_text() -> None:
    found = heard(clip(BRIDGE), STTOptions(agreed_prefix="How old is the"))
    assert said(found) == "how old is the brooklyn bridge"


@needs_clips
@pytest.mark.clips
def test_hotwords_and_prompt_set_the_spelling() -> None:
    audio = clip("lhotse__ES2011a.Headset-0-40s-46s.wav")
    assert "Claflin" in heard(audio, STTOptions(hotwords="Abigail Claflin, Abbie")).text
    assert "Abbie" in heard(audio, prompt="Claflin. Abbie.").text


@needs_clips
@pytest.mark.clips
def test_max_tokens_cuts_the_text() -> None:
    found = heard(clip("whisper__jfk.wav"), STTOptions(max_tokens=5))
    assert 1 <= len(found.text.split()) <= 5


@needs_clips
@pytest.mark.clips
@pytest.mark.parametrize("language", ["de", "fr", "es"])
def test_languages_are_detected(language: str) -> None:
    found = heard(clip(f"picovoice_cheetah__test_{language}.wav"), model="whisper-base")
    assert found.language == language
    assert found.language_probability is not None
    assert found.text


@needs_clips
@pytest.mark.clips
def test_a_language_asked_for_is_used() -> None:
    found = heard(clip("picovoice_cheetah__test_de.wav"), STTOptions(language="de-DE"), model="whisper-base")
    assert "werbung" in said(found)
    assert found.language_probability is None


# ---------------------------------------------------------------------------------------- long audio


@needs_clips
@pytest.mark.clips
def test_long_audio_is_cut_and_loses_nothing() -> None:
    jfk = clip("whisper__jfk.wav").samples
    pause = np.zeros(RATE, np.float32)
    long = np.concatenate([jfk, pause] * 6)
    found = heard(AudioFrame(long, RATE), STTOptions(word_times=True))
    assert said(found).count("country") == 12
    assert abs(len(found.text.split()) - 6 * 22) <= 2
    assert found.words is not None
    assert found.words[-1].end_s > 66.0
    starts = [w.start_s for w in found.words]
    assert starts == sorted(starts)


@needs_clips
@pytest.mark.clips
@pytest.mark.parametrize("model", ["whisper-tiny.en", "whisper-base"])
def test_where_the_decoder_breaks_off_it_goes_on(model: str) -> None:
    """On a sequence of sentences Whisper often ends after the first ones, and everything after them would be lost."""
    names = ["ljspeech__LJ001-0013.wav", "whisper__jfk.wav"]
    samples = np.concatenate([np.append(clip(name).samples, np.zeros(6400, np.float32)) for name in names])
    found = heard(AudioFrame(samples, RATE), STTOptions(word_times=True), model=model, window_floor_s=30.0)
    assert "ugly ones" in said(found)
    assert said(found).count("country") == 2
    assert found.words is not None
    assert found.words[-1].end_s > 12.0


def test_ten_minutes_of_silence_are_answered() -> None:
    assert heard(AudioFrame(np.zeros(600 * RATE, np.float32), RATE)).text == ""


# ----------------------------------------------------------------------- lifecycle, sharing, cancellation


@needs_clips
@pytest.mark.clips
def test_concurrent_requests_do_not_mix() -> None:
    names = {BRIDGE: "brooklyn", "rhasspy__turn_on_the_lamp.wav": "lamp", "rhasspy__what_time_is_it.wav": "time"}

    async def together(engine: FasterWhisper) -> list[Transcript]:
        return await asyncio.gather(*(engine.transcribe(clip(name)) for name in names for _ in range(3)))

    texts = [said(t) for t in using(together)]
    assert all(word in text for text, word in zip(texts, [w for w in names.values() for _ in range(3)], strict=True))


def test_two_engines_share_one_model_and_the_last_one_frees_it() -> None:
    async def run() -> list[int]:
        host = EngineHost()
        context = EngineContext(host, ModelStore())
        counts = []
        one, other = (create(FasterWhisperOptions(window_floor_s=f), context) for f in (5.0, 8.0))
        async with one:
            async with other:
                counts.append(len(host.stats()))
                assert (one.window.floor_s, other.window.floor_s) == (5.0, 8.0)
            counts.append(len(host.stats()))
            assert (await one.transcribe(AudioFrame(tone(1.0), RATE))).text == ""
        counts.append(len(host.stats()))
        return counts

    assert asyncio.run(run()) == [1, 1, 0]


def test_entering_again_after_leaving_works_and_twice_at_once_does_not() -> None:
    async def run() -> None:
        host = EngineHost()
        engine = create(FasterWhisperOptions(), EngineContext(host, ModelStore()))
        for _ in range(2):
            async with engine:
                with pytest.raises(EngineFailed, match="entered already"):
                    await engine.__aenter__()
                assert engine.capabilities.languages == ("en",)
        with pytest.raises(EngineFailed, match="not entered"):
            await engine.transcribe(AudioFrame(tone(1.0), RATE))
        assert not host.stats()

    asyncio.run(run())


def test_a_cancelled_request_leaves_the_engine_working() -> None:
    noise = np.random.default_rng(2).standard_normal(60 * RATE).astype(np.float32) * 0.1

    async def run(engine: FasterWhisper) -> None:
        long = asyncio.create_task(engine.transcribe(AudioFrame(noise, RATE)))
        await asyncio.sleep(0.3)
        long.cancel()
        with pytest.raises(asyncio.CancelledError):
            await long
        async with asyncio.timeout(60):
            assert (await engine.transcribe(AudioFrame(np.zeros(RATE, np.float32), RATE))).text == ""
            assert (await engine.transcribe(AudioFrame(tone(1.0), RATE))).text == ""

    using(run)


@needs_clips
@pytest.mark.clips
def test_a_committed_turn_goes_between_the_pieces_of_a_long_recording() -> None:
    noise = np.random.default_rng(2).standard_normal(90 * RATE).astype(np.float32) * 0.1

    async def run(engine: FasterWhisper) -> list[str]:
        done: list[str] = []

        async def listen(name: str, audio: AudioFrame, priority: Priority) -> None:
            current_ticket.set(Ticket(session=name, priority=priority))
            await engine.transcribe(audio)
            done.append(name)

        async with asyncio.TaskGroup() as group:
            group.create_task(listen("long", AudioFrame(noise, RATE), Priority.RERUN))
            await asyncio.sleep(0.3)
            group.create_task(listen("turn", clip(BRIDGE), Priority.COMMITTED))
        return done

    assert using(run) == ["turn", "long"]


# ------------------------------------------------------------------------------------------ errors


def test_a_compute_type_that_this_cpu_lacks_lists_those_it_has() -> None:
    with pytest.raises(EngineLoadFailed, match=r"compute type 'float16' .* \(there are: .*int8.*\)") as caught:
        using(lambda engine: engine.transcribe(AudioFrame(tone(1.0), RATE)), compute_type="float16")
    assert "int8" in caught.value.hint


def test_german_is_refused_by_an_english_model_at_load_and_on_request() -> None:
    async def ask(engine: FasterWhisper) -> None:
        with pytest.raises(EngineRequestInvalid, match="English only"):
            await engine.transcribe(AudioFrame(tone(1.0), RATE), STTOptions(language="de"))

    using(ask)
    with pytest.raises(EngineRequestInvalid, match="English only"):
        using(ask, language="de")


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(UnknownModel, match="whisper-tinny"):
        heard(AudioFrame(tone(1.0), RATE), model="whisper-tinny.en")


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"not a model")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(EngineLoadFailed, match="could not be loaded") as caught:
        heard(AudioFrame(tone(1.0), RATE), model=str(tmp_path))
    assert "tokenizer.json" in caught.value.hint


@pytest.mark.parametrize("samples", [np.zeros(16, np.int64), np.zeros(16, np.complex64)])
def test_samples_that_are_no_audio_are_refused(samples: Any) -> None:
    async def ask(engine: FasterWhisper) -> None:
        with pytest.raises(EngineRequestInvalid, match="int16 or float32"):
            await engine.transcribe(AudioFrame(samples, RATE))
        with pytest.raises(EngineRequestInvalid, match="0 Hz"):
            await engine.transcribe(AudioFrame(tone(1.0), 0))

    using(ask)


@needs_clips
@pytest.mark.clips
def test_a_multilingual_model_translates_and_goes_back_to_writing_down() -> None:
    german, english = clip("picovoice_cheetah__test_de.wav"), clip(BRIDGE)

    async def work(engine: FasterWhisper) -> list[Transcript]:
        assert engine.capabilities.translates
        translate = STTOptions(translate=True, word_times=True)
        return [
            await engine.transcribe(german, translate),
            await engine.transcribe(german),
            await engine.transcribe(english, translate),
        ]

    translated, written, bridge = using(work, model="whisper-base")
    assert translated.language == written.language == "de"
    assert "werbung" in said(written) and "werbung" not in said(translated)
    assert {"the", "a", "an"} & set(said(translated).split()), translated.text
    assert translated.words and translated.words[-1].end_s <= german.duration_s + 0.1
    assert "brooklyn bridge" in said(bridge)


def test_an_english_model_refuses_to_translate() -> None:
    async def work(engine: FasterWhisper) -> None:
        assert not engine.capabilities.translates
        with pytest.raises(EngineRequestInvalid, match="cannot translate"):
            await engine.transcribe(AudioFrame(np.zeros(RATE, np.float32), RATE), STTOptions(translate=True))

    using(work, model="whisper-tiny.en")
