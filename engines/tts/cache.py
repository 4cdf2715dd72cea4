"""Spoken text kept for the next time: an LRU cache around any TTS engine, in memory and, if asked, on disk.

A key is everything that shapes the sound: the engine and all its options, the voice file, and the request. Only
complete syntheses are kept; a hit yields the chunks that the first time yielded, word times included.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from antiphon.engines.audio import AudioFrame
from antiphon.engines.config import EngineOptions, option
from antiphon.engines.errors import EngineFailed
from antiphon.engines.protocols import TTS, SpeechChunk, TTSCapabilities, TTSOptions
from antiphon.engines.tts.cache_disk import DiskCache

_AS_CONFIGURED = TTSOptions()

KEY_VERSION = 1
_CHUNK_OVERHEAD_BYTES = 400
_WORD_OVERHEAD_BYTES = 150


class TTSCacheOptions(EngineOptions):
    """The cache's part of every TTS engine's options."""

    cache_mb: float = option(
        64,
        "How much spoken text to keep for the next time, in memory and again on disk; 0 keeps none.",
        unit="MB",
        ge=0,
    )
    cache_dir: str | None = option(None, "A folder for the cache, so that it survives a restart; none: memory only.")


def with_cache(engine: TTS, options: TTSCacheOptions) -> TTS:
    """The engine behind a cache as its options ask for; the engine itself where they ask for none."""
    max_bytes = int(options.cache_mb * 1_000_000)
    if max_bytes <= 0:
        return engine
    directory = Path(options.cache_dir).expanduser() if options.cache_dir else None
    return CachedTTS(engine, max_bytes, directory, identity=_identity(engine, options))


def _identity(engine: TTS, options: EngineOptions) -> str:
    """Which engine, and every option that could change its sound; never a secret."""
    fields = type(options).model_fields
    hidden = {
        name
        for name, field in fields.items()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("secret")
    }
    kept = options.model_dump(mode="json", exclude=hidden | {"cache_mb", "cache_dir"})
    return json.dumps([type(engine).__module__, type(engine).__qualname__, kept], sort_keys=True)


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """What a cache did so far."""

    hits: int = 0
    disk_hits: int = 0
    """Hits that came from disk; they count in `hits` too."""
    misses: int = 0
    entries: int = 0
    bytes: int = 0
    """Held in memory now."""


class CachedTTS:
    """A TTS engine that speaks from memory what it has spoken before.

    :param inner: the engine. Two optional attributes of it are used: `cache_identity` (text that changes when the sound
        would, such as the voice file's hash; read after entering) and `uses_context` (False: `context_before` does not
        change the sound).
    :param max_bytes: memory for the kept audio, and again as much disk; the least recently used goes first.
    :param directory: where to keep it on disk; None keeps it in memory only.
    :param identity: what tells this engine and its options from any other.
    """

    def __init__(self, inner: TTS, max_bytes: int, directory: Path | None = None, *, identity: str = "") -> None:
        self.inner = inner
        self._max_bytes = max_bytes
        self._identity = identity or f"{type(inner).__module__}.{type(inner).__qualname__}"
        self._disk = DiskCache(directory, max_bytes) if directory is not None else None
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, tuple[SpeechChunk, ...]] = OrderedDict()
        self._statistics = CacheStatistics()
        self._entered = False

    @property
    def rate_hz(self) -> int:
        return self.inner.rate_hz

    @property
    def capabilities(self) -> TTSCapabilities:
        return self.inner.capabilities

    @property
    def statistics(self) -> CacheStatistics:
        with self._lock:
            return self._statistics

    @property
    def probe(self) -> Callable[[], Awaitable[None]] | None:
        """The engine's own, where it has one: what the cache still speaks says nothing about it."""
        return getattr(self.inner, "probe", None)

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        self._entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._entered = False
        return await self.inner.__aexit__(kind, error, trace)

    async def synthesize(self, text: str, options: TTSOptions = _AS_CONFIGURED) -> AsyncIterator[SpeechChunk]:
        """Speak `text`, from the cache where it is there.

        :raises EngineFailed: the engine is not entered; the cache keeps what it has, and does not speak either.
        :raises EngineError: what the engine raises.
        """
        if not self._entered:
            name = getattr(self.inner, "engine", type(self.inner).__name__)
            raise EngineFailed(f"the tts engine '{name}' is not entered", stage="tts", engine=name, retryable=False)
        key = self._key(text, options)
        kept = self._recall(key)
        if kept is None and self._disk is not None:
            kept = await asyncio.to_thread(self._disk.get, key)
            if kept is not None:
                self._keep(key, kept)
                self._count(hits=1, disk_hits=1)
        if kept is not None:
            for chunk in kept:
                yield chunk
            return
        self._count(misses=1)
        spoken: list[SpeechChunk] | None = []
        size = 0
        source = self.inner.synthesize(text, options)
        async with contextlib.aclosing(source) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                size += _size(chunk)
                if size > self._max_bytes:
                    spoken = None  # too long to be kept: do not even gather it
                if spoken is not None:
                    spoken.append(_frozen(chunk))
                yield chunk
        if spoken is not None:
            self._keep(key, tuple(spoken))
            if self._disk is not None:
                await asyncio.to_thread(self._disk.put, key, tuple(spoken))

    # ---------------------------------------------------------------------------- inside

    def _key(self, text: str, options: TTSOptions) -> str:
        context = options.context_before if getattr(self.inner, "uses_context", True) else ""
        parts = [
            KEY_VERSION,
            self._identity,
            getattr(self.inner, "cache_identity", ""),
            options.voice,
            options.speed,
            options.language,
            context,
            text,
        ]
        return hashlib.sha256(json.dumps(parts).encode("ascii")).hexdigest()

    def _recall(self, key: str) -> tuple[SpeechChunk, ...] | None:
        with self._lock:
            kept = self._entries.get(key)
            if kept is not None:
                self._entries.move_to_end(key)
                self._add(hits=1)
            return kept

    def _keep(self, key: str, chunks: tuple[SpeechChunk, ...]) -> None:
        with self._lock:
            if key in self._entries:
                self._drop(key)
            self._entries[key] = chunks
            self._add(entries=1, bytes=sum(map(_size, chunks)))
            while self._statistics.bytes > self._max_bytes:
                self._drop(next(iter(self._entries)))

    def _drop(self, key: str) -> None:
        chunks = self._entries.pop(key)
        self._add(entries=-1, bytes=-sum(map(_size, chunks)))

    def _count(self, **changes: int) -> None:
        with self._lock:
            self._add(**changes)

    def _add(self, **changes: int) -> None:
        now: dict[str, Any] = {name: getattr(self._statistics, name) + change for name, change in changes.items()}
        self._statistics = replace(self._statistics, **now)


def _size(chunk: SpeechChunk) -> int:
    words = chunk.words or ()
    return chunk.frame.samples.nbytes + _CHUNK_OVERHEAD_BYTES + _WORD_OVERHEAD_BYTES * len(words)


def _frozen(chunk: SpeechChunk) -> SpeechChunk:
    """A copy that no listener can change."""
    samples = chunk.frame.samples.copy()
    samples.flags.writeable = False
    return replace(chunk, frame=AudioFrame(samples, chunk.frame.rate_hz, chunk.frame.start_s))
