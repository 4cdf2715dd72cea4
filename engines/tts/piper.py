"""The `piper` engine: Piper's VITS voices on ONNX Runtime, cut in two and decoded in slices for early audio.

Piper's phonemiser (espeak-ng) comes from the package piper-tts, which is GPL-3.0-or-later and optional; the network is
run here. What happens on the way from text to chunks: `piper_text` (phoneme ids and words), `piper_words` (which
phoneme speaks which word), `piper_graph` (the cut), `piper_runtime` (the loaded voice on the engine host's worker),
`piper_schedule` (how long the next slice is), `piper_stream` (slice after slice), `piper_level` (silence and loudness),
`piper_chunks` (chunks).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pydantic import field_validator

from antiphon.engines.config import option
from antiphon.engines.errors import EngineRequestInvalid
from antiphon.engines.host import Isolation
from antiphon.engines.lifecycle import Loadable
from antiphon.engines.protocols import TTS, SpeechChunk, Stage, TTSCapabilities, TTSOptions
from antiphon.engines.registry import EngineContext
from antiphon.engines.tts.cache import TTSCacheOptions, with_cache
from antiphon.engines.tts.piper_chunks import SoundSettings, SpeechAssembler
from antiphon.engines.tts.piper_files import VoiceFiles, find_voice, installed_voices, read_description
from antiphon.engines.tts.piper_runtime import PiperRuntime, Prosody, RuntimeFacts
from antiphon.engines.tts.piper_stream import chunks, one_ahead
from antiphon.engines.tts.piper_text import clean, has_words
from antiphon.engines.tts.piper_voice import ENGINE, VoiceConfig
from antiphon.engines.worker import Worker

_AS_CONFIGURED = TTSOptions()
MIN_SPEED, MAX_SPEED = 0.25, 4.0
_CANCEL_GUESS_MS = 400.0


class PiperOptions(TTSCacheOptions):
    """Options of the `piper` engine."""

    voice: str = option(
        "en_US-joe-medium", "The voice: a catalog name, or the path of a NAME.onnx with NAME.onnx.json.", model=True
    )
    more_voices: tuple[str, ...] = option(
        (),
        "Voices loaded besides, by catalog name or path, that a request may ask for; those of `voices` are added.",
        model=True,
    )
    speaker: int | str | None = option(None, "Name or number of the speaker, for voices that have several.")
    speed: float = option(1.0, "Pace: 1 is the voice's own, 2 twice as fast.", ge=MIN_SPEED, le=MAX_SPEED)
    noise_scale: float = option(
        0.0, "How much the sound varies from time to time; 0 speaks the same text the same way each time.", ge=0, le=2
    )
    noise_w: float = option(0.0, "How much the rhythm varies from time to time; 0 not at all.", ge=0, le=2)
    normalise: bool = option(True, "Bring every voice to the same loudness.")
    volume: float = option(1.0, "Factor on the loudness; a limiter keeps it from clipping.", ge=0, le=4)
    lead_in_ms: float | None = option(
        10, "Silence left before the first sound; null leaves what the voice makes.", unit="ms", ge=0, le=1000
    )
    sentence_silence_ms: float = option(
        0, "Silence put between the sentences of one request, besides the voice's own.", unit="ms", ge=0, le=10_000
    )
    threads: int | Literal["auto"] = option(
        "auto", "Threads for the network; auto takes this machine's plan.", unit="threads"
    )
    slice_frames: tuple[int, ...] = option(
        (16, 48, 160),
        "Length of the first slice of audio, the second, ...; the last number holds for the rest. They grow less when "
        "the machine is slow.",
        unit="frames",
        min_length=1,
    )
    context_frames: int | Literal["auto"] = option(
        "auto",
        "Frames decoded on each side of a slice and thrown away; auto takes what the voice needs.",
        unit="frames",
    )
    isolation: Isolation = option(
        "thread",
        "Where the voices run: process is safe from a crash of the network or espeak-ng, at some cost a slice.",
    )

    @field_validator("threads", "context_frames")
    @classmethod
    def _sensible(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 1 <= value <= 256:
            raise ValueError("must be 1 to 256, or auto")
        return value

    @field_validator("slice_frames")
    @classmethod
    def _growing(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value[0] < 4 or list(value) != sorted(value) or value[-1] > 4000:
            raise ValueError("must be numbers from 4 to 4000 that do not fall")
        return value


def create(options: PiperOptions, context: EngineContext) -> TTS:
    """The engine, behind its cache; not yet entered."""
    return with_cache(PiperTTS(options, context), options)


@dataclass(frozen=True, slots=True)
class _OpenVoice:
    """A loaded voice."""

    files: VoiceFiles
    worker: Worker
    facts: RuntimeFacts


class PiperTTS(Loadable):
    """Piper voices: the configured one, and on request any other of the catalog that is in the store.

    All speak at the configured voice's rate.
    """

    stage: Stage = "tts"
    engine = ENGINE
    uses_context = False
    """`context_before` does not change the sound."""

    def __init__(self, options: PiperOptions, context: EngineContext) -> None:
        self._options = options
        self._context = context
        self._config: VoiceConfig | None = None
        self._main: _OpenVoice | None = None
        self._others: dict[str, _OpenVoice] = {}
        self._installed: tuple[str, ...] = ()

    @property
    def rate_hz(self) -> int:
        """The configured voice's own rate."""
        return self._description().rate_hz

    @property
    def capabilities(self) -> TTSCapabilities:
        voice, main = self._description(), self._main
        return TTSCapabilities(
            streaming=main.facts.sliced if main else True,
            word_times=main.facts.word_times if main else True,
            languages=None if voice.language == "und" else (voice.language,),
            voices=tuple(
                dict.fromkeys((self._options.voice, voice.name, *voice.speakers, *self._others, *self._installed))
            ),
            cancel_granularity_ms=main.facts.slice_cost_ms if main else _CANCEL_GUESS_MS,
        )

    @property
    def cache_identity(self) -> str:
        """Changes with the configured voice's files."""
        return self._main.files.sha256 if self._main else ""

    async def _load(self) -> None:
        self._main = await self._open(self._options.voice)
        self._config = self._main.files.config
        self._installed = await asyncio.to_thread(installed_voices, self._context.models)
        for reference in self._options.more_voices:
            if reference != self._options.voice:
                self._others[reference] = await self._open(reference)

    async def _free(self) -> None:
        voices = [voice for voice in (self._main, *self._others.values()) if voice is not None]
        self._main, self._others = None, {}
        for voice in voices:
            await self._context.host.release(voice.worker)

    async def synthesize(self, text: str, options: TTSOptions = _AS_CONFIGURED) -> AsyncIterator[SpeechChunk]:
        """Speak `text`: the first slice as soon as it is decoded, the next one decoded while it is heard.

        Each chunk has the words that start in it. The chunks' character ranges cover the text without gap or overlap.
        `options.voice` is a speaker of the configured voice, or the name of a voice of the catalog that is in the
        store: its first use loads it.

        :raises EngineRequestInvalid: a voice, speaker, language or speed that there is not.
        :raises EngineError: see :mod:`antiphon.engines.errors`.
        """
        voice, speaker = await self._voice_for(options.voice)
        prosody = self._prosody(voice.files.config, speaker, options)
        if not has_words(text, 0):
            return
        assembler = SpeechAssembler(text, self._sound(voice))
        source = chunks(voice.worker, assembler, clean(text, voice.files.config.espeak_voice), prosody)
        async with contextlib.aclosing(one_ahead(source)) as coming:
            async for chunk in coming:
                yield chunk

    # ---------------------------------------------------------------------------- voices

    async def _open(self, reference: str) -> _OpenVoice:
        files = await asyncio.to_thread(find_voice, self._context.models, reference)
        options, host = self._options, self._context.host
        threads = self._context.plan.tts if options.threads == "auto" else options.threads
        context_frames = None if options.context_frames == "auto" else options.context_frames
        speaker = files.config.speaker_id(options.speaker if reference == options.voice else None)
        worker = await host.acquire(
            ("tts", ENGINE, files.paths.source, files.sha256, threads, options.slice_frames, context_frames),
            partial(PiperRuntime, files.config, files.paths, threads, options.slice_frames, context_frames),
            name=f"tts-piper-{files.config.name}",
            isolation=options.isolation,
        )
        try:
            facts: RuntimeFacts = await worker.call("warm", self._prosody(files.config, speaker, _AS_CONFIGURED))
        except BaseException:
            await host.release(worker)
            raise
        return _OpenVoice(files, worker, facts)

    async def _voice_for(self, asked: str | None) -> tuple[_OpenVoice, int | None]:
        """The voice and the speaker that a request's `voice` names."""
        main = self._main
        if main is None:
            raise self._not_entered()
        config = main.files.config
        if asked is None or asked in (config.name, self._options.voice):
            return main, config.speaker_id(self._options.speaker)
        if asked in config.speakers:
            return main, config.speaker_id(asked)
        if asked in self._others or asked in self._installed:
            voice = self._others.get(asked)
            if voice is None:
                voice = await self._open(asked)
                if self._main is not main:  # left meanwhile
                    await self._context.host.release(voice.worker)
                    raise self._not_entered()
                if (earlier := self._others.get(asked)) is not None:  # two asked for it at once
                    await self._context.host.release(voice.worker)
                    voice = earlier
                self._others[asked] = voice
            return voice, voice.files.config.speaker_id(None)
        if config.speakers:
            return main, config.speaker_id(asked)
        raise _refused(
            f"the piper engine has no voice '{asked}'",
            f"voices here: {', '.join(self.capabilities.voices)}; fetch others with: antiphon models pull NAME",
        )

    def _description(self) -> VoiceConfig:
        if self._config is None:
            self._config = read_description(self._context.models, self._options.voice)
        return self._config

    # --------------------------------------------------------------------------- requests

    def _prosody(self, voice: VoiceConfig, speaker: int | None, request: TTSOptions) -> Prosody:
        if request.language and voice.language != "und":
            asked = request.language.lower().replace("_", "-").partition("-")[0]
            if asked != voice.language:
                raise _refused(
                    f"the piper voice '{voice.name}' speaks '{voice.language}', not '{request.language}'",
                    "choose a voice of that language",
                )
        speed = self._options.speed if request.speed is None else request.speed
        if not MIN_SPEED <= speed <= MAX_SPEED:
            raise _refused(f"speed {speed:g} is out of range", f"use {MIN_SPEED:g} to {MAX_SPEED:g}")
        return Prosody(voice.length_scale / speed, self._options.noise_scale, self._options.noise_w, speaker)

    def _sound(self, voice: _OpenVoice) -> SoundSettings:
        options = self._options
        return SoundSettings(
            rate_hz=voice.files.config.rate_hz,
            output_hz=self.rate_hz,
            hop_samples=voice.facts.hop_samples,
            lead_in_s=None if options.lead_in_ms is None else options.lead_in_ms / 1000,
            pause_s=options.sentence_silence_ms / 1000,
            normalise=options.normalise,
            volume=options.volume,
        )


def _refused(message: str, hint: str) -> EngineRequestInvalid:
    return EngineRequestInvalid(message, stage="tts", engine=ENGINE, hint=hint)
