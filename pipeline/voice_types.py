"""Values of the voice API: input, settings and events, named as in OpenAI's `agents.voice`."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import difflib
import io
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from antiphon.engines.audio import AudioFrame, to_mono_float32, to_pcm16
from antiphon.pipeline.errors import AudioInputError, ConfigError, SessionClosed

DEFAULT_RATE_HZ = 24000
MIN_RATE_HZ, MAX_RATE_HZ = 8000, 192000


@dataclass(slots=True)
class AudioInput:
    """A finished recording: one turn of the user."""

    buffer: NDArray[np.int16] | NDArray[np.float32]
    """Samples, int16 or float32 in [-1, 1]; shape (n,), (n, channels), or interleaved."""
    frame_rate: int = DEFAULT_RATE_HZ
    """Samples per second."""
    sample_width: int = 2
    """Bytes a sample in :meth:`to_audio_file`; 2 is the only value."""
    channels: int = 1

    def frame(self) -> AudioFrame:
        """The recording as one mono frame.

        :raises AudioInputError: its samples, rate or channels cannot be.
        """
        rate_hz, channels = _rate(self.frame_rate), _channels(self.channels)
        if self.sample_width != 2:
            raise AudioInputError(
                f"sample_width is {self.sample_width}; 2 is the only value (the buffer has its dtype)"
            )
        return AudioFrame(_samples(self.buffer, channels), rate_hz)

    def to_audio_file(self) -> tuple[str, io.BytesIO, str]:
        """(file name, WAV file in memory, MIME type)."""
        file = io.BytesIO()
        frame = self.frame()
        soundfile.write(file, to_pcm16(frame.samples), frame.rate_hz, format="WAV", subtype="PCM_16")
        file.seek(0)
        return ("audio.wav", file, "audio/wav")

    def to_base64(self) -> str:
        """The samples as 16-bit little-endian PCM, mono, in base64."""
        return base64.b64encode(to_pcm16(self.frame().samples).astype("<i2").tobytes()).decode("ascii")


class StreamedAudioInput:
    """A live stream: add audio as it comes, None at the end."""

    def __init__(self, frame_rate: int = DEFAULT_RATE_HZ, channels: int = 1, max_waiting_s: float = 120.0) -> None:
        """
        :param frame_rate: samples per second of what will be added.
        :param max_waiting_s: audio that may wait for the pipeline before :meth:`add_audio` waits too.
        """
        self.frame_rate = _rate(frame_rate)
        self.channels = _channels(channels)
        self._max_waiting = round(max_waiting_s * self.frame_rate)
        self._waiting = 0
        self._room = asyncio.Event()
        self._queue: asyncio.Queue[NDArray[np.float32] | None] = asyncio.Queue()
        self._closed = False
        self._abandoned = False

    async def add_audio(self, audio: NDArray[np.int16] | NDArray[np.float32] | None) -> None:
        """Add samples; None ends the stream.

        :raises AudioInputError: the samples are no audio, or the stream has ended.
        :raises SessionClosed: the session that took the audio has ended.
        """
        if audio is None:
            if not self._closed:
                self._closed = True
                self._queue.put_nowait(None)
            return
        if self._closed:
            raise AudioInputError("audio was added after the end of the stream (add_audio(None))")
        samples = _samples(audio, self.channels)
        while self._waiting > self._max_waiting and not self._abandoned:
            self._room.clear()
            await self._room.wait()
        if self._abandoned:
            raise SessionClosed("audio was added after the session has ended")
        self._waiting += len(samples)
        self._queue.put_nowait(samples)

    def abandon(self) -> None:
        """Nobody takes audio from here any more: called by the pipeline at the end of the session."""
        self._abandoned = True
        self._room.set()

    async def frames(self) -> AsyncIterator[AudioFrame]:
        """The stream as mono frames, until its end."""
        position = 0
        while (samples := await self._queue.get()) is not None:
            self._waiting -= len(samples)
            self._room.set()
            # Pieces of 100 ms at most: a long piece must not make the turn machine jump.
            size = max(1, self.frame_rate // 10)
            for at in range(0, len(samples), size):
                piece = samples[at : at + size]
                yield AudioFrame(piece, self.frame_rate, position / self.frame_rate)
                position += len(piece)
                await asyncio.sleep(0)  # audio that comes faster than real time must not keep the loop to itself


MAX_CHANNELS = 16


def _samples(buffer: Any, channels: int) -> NDArray[np.float32]:
    """:raises AudioInputError: the buffer is no audio of int16 or float samples."""
    hint = "give numpy samples of dtype int16 or float32, of shape (n,) or (n, channels)"
    try:
        array = np.asarray(buffer)
        if array.ndim not in (1, 2):
            raise ValueError(f"audio samples cannot have the shape {array.shape}")
        if array.ndim == 2 and array.shape[1] > MAX_CHANNELS:
            raise ValueError(f"audio samples of shape {array.shape} would be {array.shape[1]} channels")
        return to_mono_float32(array, channels)
    except ValueError as error:
        raise AudioInputError(str(error), hint=hint) from error


def _rate(rate_hz: Any) -> int:
    if not isinstance(rate_hz, int | np.integer) or isinstance(rate_hz, bool):
        raise AudioInputError(f"frame_rate is a whole number of Hz, not {rate_hz!r}")
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise AudioInputError(f"a frame_rate of {rate_hz} Hz is not possible ({MIN_RATE_HZ} to {MAX_RATE_HZ} Hz)")
    return int(rate_hz)


def _channels(channels: Any) -> int:
    if not isinstance(channels, int) or not 1 <= channels <= MAX_CHANNELS:
        raise AudioInputError(f"channels is a number from 1 to {MAX_CHANNELS}, not {channels!r}")
    return channels


# ------------------------------------------------------------------------------------------- settings

TextSplitter = Callable[[str], tuple[str, str]]
"""Takes the text so far; returns (what to speak now, what to keep)."""

_SENTENCE_GAP = re.compile(r"(?<=[.!?])\s+(?=\S)")


def get_sentence_based_splitter(min_sentence_length: int = 20) -> TextSplitter:
    """A text splitter that speaks whole sentences: all but the last one, which may go on.

    Sentences end with ".", "!" or "?" and white space. Pass it as `TTSModelSettings(text_splitter=...)`; without it
    Antiphon's own splitter speaks the first clause early and knows abbreviations and numbers.

    :param min_sentence_length: fewer characters than that are not spoken yet.
    """

    def split(text: str) -> tuple[str, str]:
        gaps = list(_SENTENCE_GAP.finditer(text))
        complete = text[: gaps[-1].start()].strip() if gaps else ""
        if not complete or len(complete) < min_sentence_length:
            return "", text
        return complete, text[gaps[-1].end() :]

    return split


@dataclass(slots=True)
class STTModelSettings:
    """How speech is recognised."""

    prompt: str | None = None
    language: str | None = None
    """ISO 639-1."""
    temperature: float | None = None
    """Accepted; local decoding is greedy."""
    turn_detection: dict[str, Any] | None = None
    """Accepted; the configuration's `turn` block decides."""
    languages: list[str] | None = field(default=None, kw_only=True)
    """Accepted; the first one counts when `language` is not given and there is only one."""
    keywords: list[str] | None = field(default=None, kw_only=True)
    """Words that are likely to be said."""

    def __post_init__(self) -> None:
        if self.language is None and self.languages is not None and len(self.languages) == 1:
            self.language = self.languages[0]


@dataclass(slots=True)
class TTSModelSettings:
    """How the reply is spoken."""

    voice: str | None = None
    """A voice of the configured engine; an unknown name stands for the configured voice."""
    buffer_size: int = 120
    """Accepted; audio is passed on as soon as it is made."""
    dtype: Any = np.int16
    """np.int16: audio events of shape (n,); np.float32: of shape (n, 1)."""
    transform_data: Callable[[Any], Any] | None = None
    """Applied to the samples of each audio event."""
    instructions: str = ""
    """Accepted; for engines that take instructions they are configured in YAML."""
    text_splitter: TextSplitter | None = None
    """A splitter of your own; None: first clause early, then sentences."""
    speed: float | None = None
    """0.25 to 4.0; 1.0 is the voice's own pace."""

    def __post_init__(self) -> None:
        try:
            known = np.dtype(self.dtype) in (np.dtype(np.int16), np.dtype(np.float32))
        except TypeError:
            known = False
        if not known:
            raise ConfigError(f"dtype is np.int16 or np.float32, not {self.dtype!r}", key="tts_settings.dtype")
        if self.speed is not None and not 0.25 <= self.speed <= 4.0:
            raise ConfigError(f"the speed is 0.25 to 4.0, not {self.speed!r}", key="tts_settings.speed")


@dataclass(slots=True)
class VoicePipelineConfig:
    """The settings that users of `agents.voice` know. Nothing is traced, whatever the tracing fields say."""

    model_provider: Any = None
    """Accepted; engines come from the YAML configuration."""
    tracing_disabled: bool = True
    tracing: Any = None
    trace_include_sensitive_data: bool = False
    trace_include_sensitive_audio_data: bool = False
    workflow_name: str = "Voice Agent"
    group_id: str | None = None
    trace_metadata: dict[str, Any] | None = None
    stt_settings: STTModelSettings = field(default_factory=STTModelSettings)
    tts_settings: TTSModelSettings = field(default_factory=TTSModelSettings)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> VoicePipelineConfig:
        """:raises ConfigError: a key is unknown."""
        made = _known_fields(
            cls, values, hint="For an Antiphon configuration give a path, or VoicePipeline.from_config(path)"
        )
        kinds: tuple[tuple[str, Any], ...] = (("stt_settings", STTModelSettings), ("tts_settings", TTSModelSettings))
        for key, kind in kinds:
            given = made.get(key)
            if isinstance(given, Mapping):
                made[key] = kind(**_known_fields(kind, given, within=f"{key}."))
            elif key in made and not isinstance(given, kind):
                raise ConfigError(f"wants a {kind.__name__} or a mapping, not {type(given).__name__}", key=key)
        return cls(**made)


def _known_fields(kind: Any, values: Mapping[str, Any], *, within: str = "", hint: str = "") -> dict[str, Any]:
    """:raises ConfigError: a key is no field of the class."""
    known = [one.name for one in dataclasses.fields(kind)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            suggestion = f"Did you mean '{near[0]}'?" if near else f"It has: {', '.join(known)}."
            raise ConfigError(
                f"{kind.__name__} has no field '{key}'",
                key=f"{within}{key}",
                hint=f"{suggestion} {hint}".strip(),
            )
    return dict(values)


def _words(text: str) -> str:
    return "".join(filter(str.isalnum, text))


class CallableSplitter:
    """A user's text splitter as a :class:`~antiphon.pipeline.reply.Splitter`."""

    def __init__(self, split: TextSplitter) -> None:
        self._split = split
        self._kept = ""

    def push(self, delta: str) -> list[str]:
        whole = self._kept + delta
        spoken, rest = self._split(whole)
        if not spoken:
            self._kept = whole
            return []
        self._kept = rest
        if not whole.endswith(rest) and whole.rstrip().endswith(rest):  # the splitter stripped the end: more may come
            self._kept = rest + whole[len(whole.rstrip()) :]
        # Space and punctuation that the user's splitter strips stay with the piece before them: pieces join to the
        # text. A splitter that changes words is taken at its word.
        piece = whole.removesuffix(self._kept)
        return [piece if _words(piece) == _words(spoken) else spoken]

    def stall(self) -> list[str]:
        return []

    def hurry(self) -> list[str]:
        return []

    def finish(self) -> list[str]:
        rest, self._kept = self._kept, ""
        return [rest] if rest else []


# --------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True, kw_only=True)
class _At:
    turn: int = 0
    """The turn that the event belongs to; 0: none."""
    t_s: float | None = None
    """Monotonic clock, in seconds."""
    audio_s: float | None = None
    """Stream clock: input audio taken in so far, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceStreamEventAudio(_At):
    """Reply audio."""

    data: NDArray[Any] | None
    """int16 of shape (n,), or float32 of shape (n, 1) if so configured."""
    frame_rate: int = DEFAULT_RATE_HZ
    type: Literal["voice_stream_event_audio"] = "voice_stream_event_audio"


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceStreamEventLifecycle(_At):
    """Something began or ended."""

    event: Literal["turn_started", "turn_ended", "session_ended"]
    type: Literal["voice_stream_event_lifecycle"] = "voice_stream_event_lifecycle"


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceStreamEventError(_At):
    """A turn failed (the session goes on), or the session itself did (then `stream()` raises the same error)."""

    error: Exception
    type: Literal["voice_stream_event_error"] = "voice_stream_event_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceStreamEventTranscript(_At):
    """What one side said. Not `final`: what was heard so far of a turn that may go on; comes before "turn_started"."""

    role: Literal["user", "assistant"]
    text: str
    final: bool
    type: Literal["voice_stream_event_transcript"] = "voice_stream_event_transcript"


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceStreamEventSpoken(_At):
    """The part of the reply whose audio has just begun to come."""

    text: str
    type: Literal["voice_stream_event_spoken"] = "voice_stream_event_spoken"


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceStreamEventWarning(_At):
    """Something that you should know and that did not end the turn: no voice for the language, for example."""

    code: str
    """Stable: "no_voice_for_language", "turn_detector_failed"."""
    message: str
    """For people."""
    type: Literal["voice_stream_event_warning"] = "voice_stream_event_warning"


VoiceStreamEvent = (
    VoiceStreamEventAudio
    | VoiceStreamEventLifecycle
    | VoiceStreamEventError
    | VoiceStreamEventTranscript
    | VoiceStreamEventSpoken
    | VoiceStreamEventWarning
)
