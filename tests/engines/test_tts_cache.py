"""The TTS cache: the same chunks again, never another voice's, never half a text, never more than its share."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.audio import AudioFrame
from antiphon.engines.config import option
from antiphon.engines.errors import EngineFailed
from antiphon.engines.protocols import SpeechChunk, TTSCapabilities, TTSOptions, Word
from antiphon.engines.testing import ScriptedTTS
from antiphon.engines.tts.cache import CachedTTS, TTSCacheOptions, with_cache
from antiphon.engines.tts.cache_disk import DiskCache, decode, encode

PLAIN = TTSOptions()


class Speaker:
    """Speaks one chunk a word, each time a different sound."""

    def __init__(self, samples: int = 100, fail_after: int | None = None) -> None:
        self.calls = 0
        self.entered = False
        self.closed = 0
        self._samples = samples
        self._fail_after = fail_after

    @property
    def rate_hz(self) -> int:
        return 16000

    @property
    def capabilities(self) -> TTSCapabilities:
        return TTSCapabilities(streaming=True)

    async def __aenter__(self) -> Speaker:
        self.entered = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.entered = False

    async def synthesize(self, text: str, options: TTSOptions = PLAIN) -> AsyncIterator[SpeechChunk]:
        self.calls += 1
        sound = float(self.calls)
        position = 0
        try:
            for index, word in enumerate(text.split()):
                if index == self._fail_after:
                    raise EngineFailed("broke")
                await asyncio.sleep(0)
                samples = np.full(self._samples, sound, dtype=np.float32)
                start_s = index * self._samples / 16000
                words = (Word(word, start_s, start_s + 0.001, None),)
                yield SpeechChunk(AudioFrame(samples, 16000, start_s), position, position + len(word), words)
                position += len(word) + 1
        finally:
            self.closed += 1


async def collect(tts: CachedTTS, text: str, options: TTSOptions = PLAIN) -> list[SpeechChunk]:
    return [chunk async for chunk in tts.synthesize(text, options)]


def ask(tts: CachedTTS, text: str, options: TTSOptions = PLAIN) -> list[SpeechChunk]:
    async def body() -> list[SpeechChunk]:
        async with tts:
            return await collect(tts, text, options)

    return asyncio.run(body())


def same(one: list[SpeechChunk], other: list[SpeechChunk]) -> bool:
    def plain(chunks: list[SpeechChunk]) -> list[object]:
        return [
            (c.frame.samples.tolist(), c.frame.rate_hz, c.frame.start_s, c.char_start, c.char_end, c.words)
            for c in chunks
        ]

    return plain(one) == plain(other)


def test_the_second_time_is_the_first_time() -> None:
    inner = Speaker()
    tts = CachedTTS(inner, 1_000_000)
    first, second = ask(tts, "one two three"), ask(tts, "one two three")
    assert same(first, second) and len(first) == 3
    assert inner.calls == 1
    assert (tts.statistics.hits, tts.statistics.misses, tts.statistics.entries) == (1, 1, 1)
    assert tts.statistics.bytes > 3 * 100 * 4


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("one two!", PLAIN),
        ("One two", PLAIN),
        ("one two", TTSOptions(voice="b")),
        ("one two", TTSOptions(speed=1.1)),
        ("one two", TTSOptions(language="de")),
        ("one two", TTSOptions(context_before="zero")),
    ],
)
def test_what_differs_is_spoken_anew(text: str, options: TTSOptions) -> None:
    inner = Speaker()
    tts = CachedTTS(inner, 1_000_000)
    first = ask(tts, "one two")
    assert not same(first, ask(tts, text, options))
    assert inner.calls == 2


def test_context_counts_only_where_it_matters() -> None:
    inner = Speaker()
    inner.uses_context = False  # type: ignore[attr-defined]
    tts = CachedTTS(inner, 1_000_000)
    ask(tts, "one", TTSOptions(context_before="a"))
    ask(tts, "one", TTSOptions(context_before="b"))
    assert inner.calls == 1


def test_another_file_behind_the_voice_is_another_voice() -> None:
    inner = Speaker()
    inner.cache_identity = "sha-1"  # type: ignore[attr-defined]
    tts = CachedTTS(inner, 1_000_000)
    ask(tts, "one")
    inner.cache_identity = "sha-2"  # type: ignore[attr-defined]
    ask(tts, "one")
    assert inner.calls == 2


def test_only_what_was_spoken_to_the_end_is_kept(tmp_path: Path) -> None:
    broken = Speaker(fail_after=1)
    tts = CachedTTS(broken, 1_000_000, tmp_path)
    for _ in range(2):
        with pytest.raises(EngineFailed):
            ask(tts, "one two")
    assert broken.calls == 2

    inner = Speaker()
    tts = CachedTTS(inner, 1_000_000, tmp_path)

    async def leave_early() -> None:
        async with tts:
            stream = tts.synthesize("one two three")
            await anext(stream)
            await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(leave_early())
    assert inner.closed == 1
    assert tts.statistics.entries == 0
    assert list(tmp_path.iterdir()) == []
    ask(tts, "one two three")
    assert inner.calls == 2


def test_the_least_recently_used_goes_first() -> None:
    inner = Speaker(samples=1000)
    tts = CachedTTS(inner, 10_000)  # room for two
    ask(tts, "a")
    ask(tts, "b")
    ask(tts, "a")
    ask(tts, "c")  # b goes
    assert inner.calls == 3
    ask(tts, "a")
    ask(tts, "c")
    assert inner.calls == 3
    ask(tts, "b")
    assert inner.calls == 4
    assert tts.statistics.bytes <= 10_000


def test_what_is_larger_than_the_cache_pushes_nothing_out(tmp_path: Path) -> None:
    inner = Speaker(samples=1000)
    tts = CachedTTS(inner, 10_000, tmp_path)
    ask(tts, "a")
    assert len(ask(tts, "one two three four")) == 4
    assert tts.statistics.entries == 1
    assert len(list(tmp_path.iterdir())) == 1
    ask(tts, "a")
    assert inner.calls == 2


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 4)), max_size=40))
def test_memory_stays_within_its_cap(requests: list[tuple[str, int]]) -> None:
    tts = CachedTTS(Speaker(samples=500), 9_000)

    async def body() -> None:
        async with tts:
            for letter, count in requests:
                await collect(tts, " ".join([letter] * count))
                assert tts.statistics.bytes <= 9_000

    asyncio.run(body())
    assert tts.statistics.hits + tts.statistics.misses == len(requests)


def test_listeners_cannot_change_what_is_kept() -> None:
    tts = CachedTTS(Speaker(), 1_000_000)
    first = ask(tts, "one")
    first[0].frame.samples[:] = 0.0
    second = ask(tts, "one")
    assert second[0].frame.samples[0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        second[0].frame.samples[:] = 0.0


def test_many_at_once() -> None:
    tts = CachedTTS(Speaker(), 50_000)

    async def body() -> None:
        texts = ["one two", "three", "one two", "four five six"] * 10
        async with tts:
            answers = await asyncio.gather(*(collect(tts, text) for text in texts))
        for text, answer in zip(texts, answers, strict=True):
            assert [chunk.words[0].text for chunk in answer if chunk.words] == text.split()

    asyncio.run(body())
    assert tts.statistics.hits + tts.statistics.misses == 40


class TestDisk:
    def test_it_survives_a_restart(self, tmp_path: Path) -> None:
        first = ask(CachedTTS(Speaker(), 1_000_000, tmp_path, identity="x"), "one two")
        inner = Speaker()
        later = CachedTTS(inner, 1_000_000, tmp_path, identity="x")
        assert same(ask(later, "one two"), first)
        assert inner.calls == 0
        assert (later.statistics.hits, later.statistics.disk_hits, later.statistics.misses) == (1, 1, 0)
        ask(later, "one two")
        assert later.statistics.disk_hits == 1  # now from memory

    def test_another_engine_in_the_same_folder(self, tmp_path: Path) -> None:
        ask(CachedTTS(Speaker(), 1_000_000, tmp_path, identity="x"), "one")
        inner = Speaker()
        ask(CachedTTS(inner, 1_000_000, tmp_path, identity="y"), "one")
        assert inner.calls == 1

    @pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text", "swap"])
    def test_a_damaged_file_is_removed(self, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
        ask(CachedTTS(Speaker(), 1_000_000, tmp_path, identity="x"), "one two")
        [path] = tmp_path.iterdir()
        data = bytearray(path.read_bytes())
        if damage == "cut":
            path.write_bytes(data[: len(data) // 2])
        elif damage == "flip":
            data[-400] ^= 0xFF
            path.write_bytes(data)
        elif damage == "swap":
            chunks = decode(bytes(data), path.name.partition(".")[0])
            path.write_bytes(encode("0" * 64, chunks))
        else:
            path.write_bytes(b"" if damage == "empty" else b"hello")
        inner = Speaker()
        with caplog.at_level(logging.WARNING):
            ask(CachedTTS(inner, 1_000_000, tmp_path, identity="x"), "one two")
        assert inner.calls == 1
        assert "damaged file removed" in caplog.text
        assert len(list(tmp_path.iterdir())) == 1  # the new one

    def test_the_cap_holds_on_disk(self, tmp_path: Path) -> None:
        disk = DiskCache(tmp_path, 12_000)
        chunk = SpeechChunk(AudioFrame(np.ones(1000, dtype=np.float32), 16000), 0, 1)
        keys = [f"{number:064x}" for number in range(4)]
        for age, key in enumerate(keys[:2]):
            disk.put(key, [chunk])
            os.utime(tmp_path / f"{key}.speech.npz", (1000 + age, 1000 + age))
        assert disk.get(keys[0]) is not None  # used again: now the younger one
        disk.put(keys[2], [chunk])
        assert disk.get(keys[1]) is None
        assert disk.get(keys[0]) is not None and disk.get(keys[2]) is not None
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 12_000
        disk.put(keys[3], [chunk] * 4)
        assert disk.get(keys[3]) is None and disk.get(keys[0]) is not None

    def test_foreign_files_stay_and_abandoned_ones_go(self, tmp_path: Path) -> None:
        foreign, fresh, old = tmp_path / "notes.txt", tmp_path / "a.speech.tmp", tmp_path / "b.speech.tmp"
        for path in (foreign, fresh, old):
            path.write_bytes(b"x" * 20_000)
        os.utime(old, (time.time() - 7200,) * 2)
        ask(CachedTTS(Speaker(), 5_000, tmp_path), "one")
        assert foreign.exists() and fresh.exists() and not old.exists()

    def test_a_disk_that_cannot_be_written_costs_only_the_cache(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        blocked = tmp_path / "file"
        blocked.write_text("in the way")
        inner = Speaker()
        tts = CachedTTS(inner, 1_000_000, blocked / "cache")
        with caplog.at_level(logging.WARNING):
            assert same(ask(tts, "one two"), ask(tts, "one two"))
        assert inner.calls == 1
        assert "TTS cache not written" in caplog.text

    def test_no_text_in_names_or_files(self, tmp_path: Path) -> None:
        """Words are kept as times need them; the key is a hash."""
        ask(CachedTTS(Speaker(), 1_000_000, tmp_path), "secret")
        [path] = tmp_path.iterdir()
        assert "secret" not in path.name

    @given(
        st.lists(
            st.builds(
                SpeechChunk,
                st.builds(
                    AudioFrame,
                    st.lists(st.floats(-1, 1, width=32), max_size=20).map(lambda v: np.array(v, dtype=np.float32)),
                    st.sampled_from([8000, 22050]),
                    st.floats(0, 100),
                ),
                st.integers(0, 50),
                st.integers(0, 50),
                st.none()
                | st.lists(
                    st.builds(Word, st.text(max_size=5), st.floats(0, 9), st.floats(0, 9), st.none() | st.floats(0, 1)),
                    max_size=3,
                ).map(tuple),
            ),
            max_size=4,
        )
    )
    def test_what_is_written_is_read(self, chunks: list[SpeechChunk]) -> None:
        assert same(list(decode(encode("k", chunks), "k")), chunks)


class SomeOptions(TTSCacheOptions):
    voice: str = option("a", "The voice.")
    api_key: str | None = option(None, "A secret.", secret=True)


class TestOptions:
    def test_off(self) -> None:
        inner = Speaker()
        assert with_cache(inner, SomeOptions(cache_mb=0)) is inner

    def test_the_default_is_memory(self) -> None:
        tts = with_cache(Speaker(), SomeOptions())
        assert isinstance(tts, CachedTTS) and tts.rate_hz == 16000 and tts.capabilities.streaming

    def test_options_and_secrets(self, tmp_path: Path) -> None:
        def calls(**options: object) -> int:
            inner = Speaker()
            ask(with_cache(inner, SomeOptions(cache_dir=str(tmp_path), **options)), "one")  # type: ignore[arg-type]
            return inner.calls

        assert calls(api_key="k1") == 1
        assert calls(api_key="k2") == 0  # a new key is no new voice
        assert calls(api_key="k2", cache_mb=5) == 0
        assert calls(api_key="k2", voice="b") == 1

    def test_it_is_entered_and_left_with_the_engine(self) -> None:
        inner = Speaker()

        async def body() -> None:
            async with CachedTTS(inner, 1000) as tts:
                assert inner.entered and tts.inner is inner
            assert not inner.entered

        asyncio.run(body())

    def test_outside_it_does_not_speak_even_what_it_knows(self) -> None:
        inner = Speaker()
        tts = CachedTTS(inner, 1_000_000)

        async def body() -> None:
            for _ in range(2):
                with pytest.raises(EngineFailed, match="not entered"):
                    await collect(tts, "one two")
                async with tts:
                    assert len(await collect(tts, "one two")) == 2

        asyncio.run(body())
        assert inner.calls == 1, "what it knows is kept for the next time"


def test_whether_the_engine_works_is_asked_past_the_cache() -> None:
    class Probed(ScriptedTTS):
        probes = 0

        async def probe(self) -> None:
            self.probes += 1

    async def main() -> None:
        inner = Probed()
        ask = CachedTTS(inner, 1000).probe
        assert ask is not None
        await ask()
        assert inner.probes == 1

    asyncio.run(main())
    assert CachedTTS(ScriptedTTS(), 1000).probe is None
