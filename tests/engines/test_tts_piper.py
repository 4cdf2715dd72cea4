"""The `piper` engine on a generated voice: everything but how a real voice sounds."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from tiny_piper import RATE_HZ, save_voice

from antiphon.engines.audio import Samples
from antiphon.engines.errors import (
    EngineFailed,
    EngineLoadFailed,
    EngineRequestInvalid,
    EngineUnavailable,
    ModelMissing,
    StaleRequest,
    UnknownModel,
)
from antiphon.engines.host import EngineHost, Priority, Ticket, current_ticket
from antiphon.engines.models.catalog import Catalog
from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import SpeechChunk, TTSOptions
from antiphon.engines.registry import EngineContext, find
from antiphon.engines.tts.cache import CachedTTS
from antiphon.engines.tts.piper import PiperOptions, PiperTTS

TEXT = "Sure, I can help. It costs 1,200 dollars, does it not? Well... that is what the old man of the sea told me."


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    return save_voice(tmp_path / "voices")


@asynccontextmanager
async def engine(voice: Path | str, store: ModelStore | None = None, **options: Any) -> AsyncIterator[PiperTTS]:
    host = EngineHost()
    store = store or ModelStore(Path(voice).parents[1] / "store")
    try:
        async with PiperTTS(PiperOptions(voice=str(voice), **options), EngineContext(host, store)) as tts:
            yield tts
    finally:
        await host.close()


async def collect(tts: PiperTTS, text: str, options: TTSOptions = TTSOptions()) -> list[SpeechChunk]:  # noqa: B008
    return [chunk async for chunk in tts.synthesize(text, options)]


def sound(chunks: list[SpeechChunk]) -> Samples:
    return np.concatenate([chunk.frame.samples for chunk in chunks])


def run(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(body())


def speak(voice: Path | str, text: str, request: TTSOptions = TTSOptions(), **options: Any) -> list[SpeechChunk]:  # noqa: B008
    async def body() -> list[SpeechChunk]:
        async with engine(voice, **options) as tts:
            return await collect(tts, text, request)

    return asyncio.run(body())


def check_contract(chunks: list[SpeechChunk], text: str, rate_hz: int = RATE_HZ) -> None:
    """What every answer must keep to."""
    samples = chars = 0
    last_start_s = 0.0
    total_s = sum(len(chunk.frame.samples) for chunk in chunks) / rate_hz
    for chunk in chunks:
        assert chunk.frame.rate_hz == rate_hz
        assert chunk.frame.samples.dtype == np.float32 and len(chunk.frame.samples)
        assert np.abs(chunk.frame.samples).max() <= 1.0
        assert chunk.frame.start_s == pytest.approx(samples / rate_hz)
        assert chunk.char_start == chars <= chunk.char_end
        samples, chars = samples + len(chunk.frame.samples), chunk.char_end
        for word in chunk.words or ():
            assert last_start_s <= word.start_s <= word.end_s <= total_s + 1e-6
            assert chunk.frame.start_s - 1e-6 <= word.start_s < chunk.frame.end_s
            assert word.text in text[chunk.char_start : chunk.char_end]
            last_start_s = word.start_s
    assert chars == len(text)


class TestChunks:
    def test_words_characters_and_times(self, voice: Path) -> None:
        chunks = speak(voice, TEXT)
        check_contract(chunks, TEXT)
        words = [word.text for chunk in chunks for word in chunk.words or ()]
        assert words == TEXT.split()
        assert len(chunks) > 4

    def test_slices_join_to_the_whole(self, voice: Path) -> None:
        small = sound(speak(voice, TEXT, slice_frames=(8,)))
        large = sound(speak(voice, TEXT, slice_frames=(4000,)))
        assert len(small) == len(large)
        assert np.abs(small - large).max() < 1e-5

    def test_too_little_context_is_told(self, voice: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            speak(voice, "hello", context_frames=1)
        assert "fewer context frames" in caplog.text

    def test_the_same_words_sound_the_same_and_with_noise_they_do_not(self, voice: Path) -> None:
        async def body() -> None:
            async with engine(voice) as tts:
                assert np.array_equal(sound(await collect(tts, TEXT)), sound(await collect(tts, TEXT)))
            async with engine(voice, noise_scale=0.5) as tts:
                assert not np.array_equal(sound(await collect(tts, TEXT)), sound(await collect(tts, TEXT)))

        run(body)

    def test_leading_silence_is_cut(self, voice: Path) -> None:
        untrimmed = sound(speak(voice, "Hello.", lead_in_ms=None, normalise=False))
        trimmed = sound(speak(voice, "Hello.", lead_in_ms=5, normalise=False))
        onset = int(np.flatnonzero(np.abs(untrimmed) > 0.002)[0])
        assert onset > 0.005 * RATE_HZ
        assert np.array_equal(trimmed, untrimmed[onset - round(0.005 * RATE_HZ) :])

    def test_silence_between_sentences(self, voice: Path) -> None:
        plain = speak(voice, "One. Two.")
        spaced = speak(voice, "One. Two.", sentence_silence_ms=250)
        assert len(sound(spaced)) - len(sound(plain)) == 0.25 * RATE_HZ
        check_contract(spaced, "One. Two.")
        shift = spaced[-1].words[0].start_s - plain[-1].words[0].start_s  # type: ignore[index]
        assert shift == pytest.approx(0.25)

    def test_speed(self, voice: Path) -> None:
        normal = len(sound(speak(voice, TEXT)))
        assert len(sound(speak(voice, TEXT, speed=2.0))) < 0.75 * normal
        assert len(sound(speak(voice, TEXT, TTSOptions(speed=0.5)))) > 1.6 * normal

    def test_volume_and_the_limiter(self, voice: Path) -> None:
        normal = sound(speak(voice, TEXT))
        assert np.allclose(sound(speak(voice, TEXT, volume=0.5)), normal * 0.5, atol=1e-2)
        loud = np.abs(sound(speak(voice, TEXT, volume=4.0)))
        assert 0.9 < loud.max() <= 1.0
        assert not sound(speak(voice, TEXT, volume=0.0)).any()

    @pytest.mark.parametrize("text", ["", "  \n", "?!", "...", "—", "\x00\x01", "\ud800"])
    def test_nothing_to_say(self, voice: Path, text: str) -> None:
        assert speak(voice, text) == []

    @pytest.mark.parametrize(
        "text",
        ["a", "I", "7", "hello 👋 你好", "a\x00b\x07c \ud83d ok", "... so?", "line\n\n\nline  ", "x" * 700, "(a)."],
    )
    def test_odd_text(self, voice: Path, text: str) -> None:
        check_contract(speak(voice, text), text)


class TestLongText:
    def test_five_thousand_characters_are_made_as_they_are_heard(self, voice: Path) -> None:
        text = ("This is a sentence of some length, and it goes on. " * 100)[:5000]

        async def body() -> None:
            async with engine(voice) as tts:
                first = await anext(stream := tts.synthesize(text))
                assert first.frame.duration_s < 1.0
                await asyncio.sleep(0.2)  # nobody listens: one slice is made ahead, not the rest
                assert sum(stats.done for stats in tts._context.host.stats().values()) <= 4
                await stream.aclose()  # type: ignore[attr-defined]
                chunks = await collect(tts, text)
                check_contract(chunks, text)
                assert max(chunk.frame.duration_s for chunk in chunks) < 2.0

        run(body)


class TestStreams:
    def test_closing_stops_within_a_slice(self, voice: Path) -> None:
        async def body() -> None:
            async with engine(voice) as tts:
                stream = tts.synthesize(TEXT * 20)
                await anext(stream)
                await stream.aclose()  # type: ignore[attr-defined]
                await collect(tts, "next")  # waits in line behind whatever still runs
                [stats] = tts._context.host.stats().values()
                assert stats.done <= 8 and stats.queued == 0
                assert len(asyncio.all_tasks()) == 1

        run(body)

    def test_cancelling_leaves_nothing_behind(self, voice: Path) -> None:
        async def body() -> None:
            async with engine(voice) as tts:
                task = asyncio.create_task(collect(tts, TEXT * 50))
                await asyncio.sleep(0.05)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert len(asyncio.all_tasks()) == 1
                check_contract(await collect(tts, TEXT), TEXT)

        run(body)

    def test_streams_take_turns(self, voice: Path) -> None:
        order: list[str] = []

        async def body() -> None:
            async with engine(voice) as tts:

                async def listen(name: str, text: str) -> Samples:
                    chunks = []
                    async for chunk in tts.synthesize(text):
                        order.append(name)
                        chunks.append(chunk)
                    check_contract(chunks, text)
                    return sound(chunks)

                alone = await listen("alone", TEXT)
                order.clear()
                long, short = await asyncio.gather(listen("long", TEXT * 5), listen("short", TEXT))
                assert np.array_equal(short, alone)
                assert len(long) > 4 * len(short)
                # the short one, asked second, ends long before the long one does
                assert len(order) - 1 - order[::-1].index("short") < 0.7 * len(order)

        run(body)

    def test_a_committed_turn_passes_a_speculation(self, voice: Path) -> None:
        order: list[str] = []

        async def body() -> None:
            async with engine(voice) as tts:

                async def listen(name: str, priority: Priority) -> None:
                    current_ticket.set(Ticket(session=name, priority=priority))
                    async for _ in tts.synthesize(TEXT * 3):
                        order.append(name)

                await asyncio.gather(listen("guess", Priority.SPECULATION), listen("real", Priority.COMMITTED))

        run(body)
        assert order[-1] == "guess"
        assert order.index("real") <= 3

    def test_a_dropped_revision_ends_with_stale_request(self, voice: Path) -> None:
        async def body() -> None:
            async with engine(voice) as tts:
                current_ticket.set(Ticket(session="s", turn=1, revision=1))
                blocker = asyncio.create_task(collect(tts, TEXT))
                stale = asyncio.create_task(collect(tts, TEXT * 3))
                dropped = 0
                for _ in range(1000):  # the two keep one slice each in the making: soon one of them waits in line
                    if dropped := tts._context.host.drop("s", 1, 2):
                        break
                    await asyncio.sleep(0)
                results = await asyncio.gather(blocker, stale, return_exceptions=True)
                assert dropped
                assert any(isinstance(result, StaleRequest) for result in results)

        run(body)

    def test_engines_of_one_voice_share_it(self, voice: Path) -> None:
        async def body() -> None:
            host = EngineHost()
            context = EngineContext(host, ModelStore(voice.parents[1] / "store"))
            options = PiperOptions(voice=str(voice))
            async with PiperTTS(options, context) as one:
                async with PiperTTS(options.model_copy(update={"speed": 2.0}), context) as two:
                    assert len(host.stats()) == 1
                    assert len(sound(await collect(two, TEXT))) < len(sound(await collect(one, TEXT)))
                check_contract(await collect(one, TEXT), TEXT)
            assert host.stats() == {}

        run(body)


class TestVoices:
    def test_facts(self, voice: Path) -> None:
        async def body() -> None:
            async with engine(voice) as tts:
                assert tts.rate_hz == RATE_HZ
                assert tts.capabilities.streaming and tts.capabilities.word_times and tts.capabilities.local
                assert tts.capabilities.languages == ("en",)
                assert "tiny" in tts.capabilities.voices
                assert 0 < tts.capabilities.cancel_granularity_ms < 1000

        run(body)
        before = PiperTTS(PiperOptions(voice=str(voice)), EngineContext(EngineHost(), ModelStore(voice.parent / "s")))
        assert before.rate_hz == RATE_HZ  # known before anything is loaded
        assert before.capabilities.voices[-1] == "tiny"

    def test_speakers(self, tmp_path: Path) -> None:
        pair = save_voice(tmp_path / "voices", "pair", speakers=2)
        anna, boris = (sound(speak(pair, TEXT, speaker=who)) for who in ("anna", 1))
        assert not np.array_equal(anna, boris)
        assert np.array_equal(sound(speak(pair, TEXT)), anna)
        assert np.array_equal(sound(speak(pair, TEXT, TTSOptions(voice="boris"))), boris)
        assert np.array_equal(sound(speak(pair, TEXT, TTSOptions(voice="1"))), boris)
        assert np.array_equal(sound(speak(pair, TEXT, TTSOptions(voice="boris"), speaker="anna")), boris)
        with pytest.raises(EngineRequestInvalid, match="no speaker 'carla'"):
            speak(pair, TEXT, TTSOptions(voice="carla"))
        with pytest.raises(EngineRequestInvalid, match="no speaker '7'"):
            speak(pair, TEXT, speaker=7)

    @pytest.mark.parametrize(
        ("request_", "problem"),
        [
            (TTSOptions(voice="alloy"), "no voice 'alloy'"),
            (TTSOptions(voice="../tiny.onnx"), "no voice"),
            (TTSOptions(language="de"), "speaks 'en', not 'de'"),
            (TTSOptions(speed=9.0), "speed 9 is out of range"),
        ],
    )
    def test_requests_that_cannot_be_met(self, voice: Path, request_: TTSOptions, problem: str) -> None:
        with pytest.raises(EngineRequestInvalid, match=problem):
            speak(voice, TEXT, request_)

    @pytest.mark.parametrize("language", ["en", "EN", "en-GB", "en_US"])
    def test_the_language_may_be_said(self, voice: Path, language: str) -> None:
        assert speak(voice, "hello", TTSOptions(language=language, voice="tiny"))

    def test_another_voice_of_the_store_at_the_rate_of_the_first(self, tmp_path: Path) -> None:
        store = catalog_store(tmp_path, {"one": {"seed": 1}, "two": {"seed": 2, "rate_hz": 16000, "language": "de"}})

        async def body() -> None:
            async with engine("one", store) as tts:
                assert set(tts.capabilities.voices) == {"one", "two"}
                english = await collect(tts, "eins zwei drei")
                german, again = await asyncio.gather(
                    *(collect(tts, "eins zwei drei", TTSOptions(voice="two", language="de")) for _ in range(2))
                )
                check_contract(german, "eins zwei drei")
                assert np.array_equal(sound(german), sound(again))
                # as many frames as before, but of half the length: the voice's own rate is twice that of the first
                assert 0.2 < len(sound(german)) / len(sound(english)) < 0.9
                assert len(tts._context.host.stats()) == 2
            async with engine("two", store) as own:
                assert own.rate_hz == 16000
                whole = sound(await collect(own, "eins zwei drei"))
                assert len(sound(german)) == pytest.approx(len(whole) / 2, abs=2)

        run(body)


def catalog_store(folder: Path, voices: dict[str, dict[str, Any]]) -> ModelStore:
    """A store that has voices under names of its own."""
    import hashlib

    entries = {}
    for name, facts in voices.items():
        graph = save_voice(folder / "store" / name, name, **facts)
        entries[name] = {
            "licence": "CC0-1.0",
            "stage": "tts",
            "sources": [{"kind": "path", "path": str(graph.parent)}],
            "files": {
                path.name: {"size": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
                for path in graph.parent.iterdir()
            },
        }
    catalog = folder / "catalog.yaml"
    catalog.write_text(json.dumps({"models": entries}))
    return ModelStore(folder / "store", Catalog.load([catalog]))


class TestFiles:
    def test_the_cut_is_made_once(self, voice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = sound(speak(voice, TEXT))
        derived = sorted((voice.parents[1] / "store" / ".derived").rglob("*.onnx"))
        assert len(derived) == 2

        def refuse(*_: Any) -> None:
            raise AssertionError("cut again")

        monkeypatch.setattr("antiphon.engines.tts.piper_runtime.write_cut", refuse)
        assert np.array_equal(sound(speak(voice, TEXT)), first)

    def test_another_file_under_the_same_name_is_cut_anew(self, voice: Path) -> None:
        first = sound(speak(voice, TEXT))
        save_voice(voice.parent, seed=5)
        assert not np.array_equal(sound(speak(voice, TEXT)), first)

    @pytest.mark.parametrize("which", ["encoder", "decoder"])
    def test_a_damaged_half_is_made_again(self, voice: Path, which: str, caplog: pytest.LogCaptureFixture) -> None:
        first = sound(speak(voice, TEXT))
        [half] = (voice.parents[1] / "store" / ".derived").rglob(f"*{which}.onnx")
        half.write_bytes(half.read_bytes()[:100])
        with caplog.at_level(logging.WARNING):
            assert np.array_equal(sound(speak(voice, TEXT)), first)
        assert "cut again" in caplog.text

    def test_a_store_that_cannot_be_written(
        self, voice: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        first = sound(speak(voice, TEXT))
        from antiphon.engines.tts import piper_runtime

        store = ModelStore(voice.parents[1] / "other")
        real = piper_runtime.write_cut

        def full(source: str, files: Any) -> Any:
            if "other" in str(files.encoder):
                raise OSError(28, "No space left on device")
            return real(source, files)

        monkeypatch.setattr(piper_runtime, "write_cut", full)
        with caplog.at_level(logging.WARNING):
            assert np.array_equal(sound(speak(voice, TEXT, store=store)), first)
        assert "cannot be kept" in caplog.text

    @pytest.mark.parametrize("defect", ["global_decoder", "mask_in_decoder"])
    def test_a_voice_that_cannot_be_cut_is_spoken_whole(
        self, tmp_path: Path, defect: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        whole = save_voice(tmp_path / "voices", defect=defect)

        async def body() -> None:
            async with engine(whole) as tts:
                assert not tts.capabilities.streaming and not tts.capabilities.word_times
                chunks = await collect(tts, TEXT)
                assert len(chunks) == 3  # one a sentence
                assert all(chunk.words is None for chunk in chunks)
                check_contract(chunks, TEXT)

        with caplog.at_level(logging.WARNING):
            run(body)
        assert "cannot be sliced" in caplog.text

    def test_without_durations_there_are_no_word_times(self, tmp_path: Path) -> None:
        chunks = speak(save_voice(tmp_path / "voices", defect="no_durations"), TEXT)
        assert all(chunk.words is None for chunk in chunks)
        check_contract(chunks, TEXT)

    def test_what_is_missing_or_wrong(self, voice: Path, tmp_path: Path) -> None:
        with pytest.raises(UnknownModel):
            speak(tmp_path / "voices" / "absent.onnx", TEXT)
        with pytest.raises(ModelMissing, match="antiphon models pull en_US-joe-medium"):
            speak("en_US-joe-medium", TEXT, store=ModelStore(tmp_path / "empty"))
        description = Path(f"{voice}.json")
        content = description.read_text()
        description.unlink()
        with pytest.raises(EngineUnavailable, match="has no description"):
            speak(voice, TEXT)
        description.write_text("{")
        with pytest.raises(EngineLoadFailed, match="not readable as JSON"):
            speak(voice, TEXT)
        description.write_text(content)
        voice.write_bytes(b"\x00" * 3000)
        with pytest.raises(EngineLoadFailed, match="is no Piper voice"):
            speak(voice, TEXT)
        with pytest.raises(EngineUnavailable, match=r"needs one \.onnx file"):
            speak(description, TEXT)

    def test_not_open(self, voice: Path) -> None:
        async def body() -> None:
            async with engine(voice) as tts:
                pass
            with pytest.raises(EngineFailed, match="is not entered"):
                await collect(tts, TEXT)

        run(body)

    def test_a_failure_at_work_is_told(self, voice: Path) -> None:
        """An id that the network has no symbol for."""
        description = Path(f"{voice}.json")
        facts = json.loads(description.read_text())
        facts["phoneme_id_map"]["z"] = [9999]
        description.write_text(json.dumps(facts))

        async def body() -> None:
            async with engine(voice) as tts:
                with pytest.raises(EngineFailed, match="failed at a sentence"):
                    await collect(tts, "fine. zoo")
                check_contract(await collect(tts, "fine"), "fine")

        run(body)


class TestOptions:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"speed": 0},
            {"slice_frames": (48, 16)},
            {"slice_frames": (1,)},
            {"slice_frames": ()},
            {"threads": 0},
            {"threads": "all"},
            {"context_frames": 0},
            {"lead_in_ms": -1},
            {"noise_scale": -1},
            {"vioce": "x"},
        ],
    )
    def test_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            PiperOptions(**wrong)

    def test_the_registry_makes_it_behind_its_cache(self, voice: Path) -> None:
        spec = find("tts", "piper")
        assert spec.options_class() is PiperOptions
        context = EngineContext(EngineHost(), ModelStore(voice.parents[1] / "store"))
        made = spec.create(PiperOptions(voice=str(voice)), context)
        assert isinstance(made, CachedTTS) and isinstance(made.inner, PiperTTS)
        assert isinstance(spec.create(PiperOptions(voice=str(voice), cache_mb=0), context), PiperTTS)

        async def body() -> None:
            async with made:
                first = await collect(made, TEXT)
                again = await collect(made, TEXT, TTSOptions(context_before="Hello."))
                assert np.array_equal(sound(first), sound(again))
                assert made.statistics.hits == 1

        run(body)
