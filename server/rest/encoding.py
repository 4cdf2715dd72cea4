"""Audio as it goes out: encoded piece by piece, so that the first bytes leave while the rest is still being spoken."""

from __future__ import annotations

import io
from typing import Any, Literal, Protocol

import numpy as np

from antiphon.engines.audio import Samples, StreamResampler, to_pcm16
from antiphon.server.client_audio import pcm16

AudioFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]

MEDIA_TYPES: dict[AudioFormat, str] = {
    "pcm": "audio/pcm",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "opus": "audio/ogg; codecs=opus",
    "mp3": "audio/mpeg",
    "aac": "audio/aac",
}
RATE_HZ = 24_000
"""Of everything that goes out: clients of OpenAI's API take raw PCM for that."""
_UNKNOWN_LENGTH = 0xFFFFFFFF


class Encoder(Protocol):
    """Takes float32 samples at :data:`RATE_HZ`, gives bytes."""

    def push(self, samples: Samples) -> bytes: ...

    def finish(self) -> bytes: ...


def encoder(kind: AudioFormat) -> Encoder:
    """A new encoder."""
    match kind:
        case "mp3":  # without a bit reservoir each frame stands by itself: a player may begin anywhere
            muxing = {"write_xing": "0", "id3v2_version": "0"}
            return _Ffmpeg("mp3", "mp3", muxing=muxing, coding={"reservoir": "0"})
        case "aac":
            return _Ffmpeg("adts", "aac", muxing={}, coding={})
        case "opus":
            return _Sndfile("OGG", "OPUS", at_once=False)
        case "flac":  # many readers want to know from its header how long it is
            return _Sndfile("FLAC", "PCM_16", at_once=True)
    return _Pcm(wav=kind == "wav")


class _Pcm:
    def __init__(self, *, wav: bool) -> None:
        self._header = _wav_header() if wav else b""

    def push(self, samples: Samples) -> bytes:
        data, self._header = self._header + pcm16(samples), b""
        return data

    def finish(self) -> bytes:
        return self._header


class _Sndfile:
    """FLAC and Opus, by libsndfile."""

    def __init__(self, container: str, subtype: str, *, at_once: bool) -> None:
        """:param at_once: nothing leaves before the end, where the header gets its length."""
        import soundfile

        self._buffer = io.BytesIO()
        self._file: Any = soundfile.SoundFile(self._buffer, "w", RATE_HZ, 1, subtype, format=container)
        self._at_once = at_once
        self._sent = 0

    def push(self, samples: Samples) -> bytes:
        self._file.write(to_pcm16(samples))
        return b"" if self._at_once else self._new()

    def finish(self) -> bytes:
        self._file.close()
        return self._new()

    def _new(self) -> bytes:
        data = self._buffer.getvalue()[self._sent :]
        self._sent += len(data)
        return data


class _Ffmpeg:
    """MP3 and AAC, frame by frame, without anything in front that would tell a length."""

    def __init__(self, container: str, codec: str, *, muxing: dict[str, str], coding: dict[str, str]) -> None:
        import av

        self._buffer = io.BytesIO()
        self._container: Any = av.open(self._buffer, "w", format=container, options=muxing)
        stream: Any = self._container.add_stream(codec, rate=RATE_HZ, layout="mono")
        stream.bit_rate = 64_000
        stream.options = coding
        self._stream = stream
        self._frame = av.AudioFrame

    def push(self, samples: Samples) -> bytes:
        if len(samples):
            frame = self._frame.from_ndarray(to_pcm16(samples).reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate = RATE_HZ
            self._container.mux(self._stream.encode(frame))
        return self._new()

    def finish(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._new()

    def _new(self) -> bytes:
        data = self._buffer.getvalue()
        self._buffer.seek(0)
        self._buffer.truncate()
        return data


def _wav_header() -> bytes:
    """Of a WAV file whose length is not known yet."""
    form = np.array([1 | 1 << 16, RATE_HZ, RATE_HZ * 2, 2 | 16 << 16], dtype="<u4").tobytes()
    length = _UNKNOWN_LENGTH.to_bytes(4, "little")
    return b"RIFF" + length + b"WAVEfmt " + (16).to_bytes(4, "little") + form + b"data" + length


class SpeechEncoder:
    """A voice's frames, at whatever rate, in one format."""

    def __init__(self, kind: AudioFormat) -> None:
        self._encoder = encoder(kind)
        self._resampler: StreamResampler | None = None

    def push(self, samples: Samples, rate_hz: int) -> bytes:
        tail = b""
        if self._resampler is not None and self._resampler.from_hz != rate_hz:  # another voice of a chain goes on
            tail = self._flush()
        if self._resampler is None:
            self._resampler = StreamResampler(rate_hz, RATE_HZ)
        return tail + self._encoder.push(self._resampler.push(samples))

    def finish(self) -> bytes:
        return self._flush() + self._encoder.finish()

    def _flush(self) -> bytes:
        resampler, self._resampler = self._resampler, None
        if resampler is None:
            return b""
        return self._encoder.push(resampler.push(np.empty(0, dtype=np.float32), last=True))
