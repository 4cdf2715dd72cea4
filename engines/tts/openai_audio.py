"""Decodes a streamed body of raw PCM or WAV, however its bytes are cut."""

from __future__ import annotations

import struct
from typing import Literal

import numpy as np

from antiphon.engines.audio import Samples, to_mono_float32

_UNKNOWN_SIZE = 0x7FFF0000
"""A server that streams a WAV does not know its size and writes 0 or something this large."""
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_EMPTY: Samples = np.zeros(0, np.float32)
_COMPRESSED: tuple[bytes, ...] = (b"ID3", b"OggS", b"fLaC")


class UnreadableAudio(ValueError):
    """Raised when a body is no audio that can be read; the message is the end of "the server sent ..."."""


class AudioDecoder:
    """Turns bytes into mono samples.

    :param rate_hz: rate of raw PCM, int16 little-endian mono; a WAV header says its own.
    :param expect: what was asked for. A WAV is recognised where PCM was asked for, but not the other way round.
    :param content_type: what the server calls it. Only used to recognise what is no PCM: many servers name it wrongly.
    """

    def __init__(self, rate_hz: int, *, expect: Literal["pcm", "wav"] = "pcm", content_type: str = "") -> None:
        self.rate_hz = rate_hz
        self.total_samples: int | None = None
        """Samples in all, where a header says so."""
        self._expect = expect
        self._content_type = content_type.partition(";")[0].strip().lower()
        self._held = b""
        self._in_data = False
        self._float = False
        self._channels = 1
        self._left: int | None = None
        """Bytes of audio still to come, where a header says so."""
        if self._content_type.startswith("text/") or self._content_type == "application/json":
            raise UnreadableAudio(f"{self._content_type} instead of audio")

    def feed(self, data: bytes) -> Samples:
        """:raises UnreadableAudio: this is no audio, or a form that is not read here."""
        self._held += data
        if not self._in_data and not self._begin():
            return _EMPTY
        width = (4 if self._float else 2) * self._channels
        usable = len(self._held) if self._left is None else min(len(self._held), self._left)
        usable -= usable % width
        raw, self._held = self._held[:usable], self._held[usable:]
        if self._left is not None:
            self._left -= usable
            if self._left < width:
                self._held = b""  # chunks after the audio: a title, a cue list
        if self._float:
            return to_mono_float32(np.frombuffer(raw, "<f4").astype(np.float32), self._channels)
        return to_mono_float32(np.frombuffer(raw, "<i2").astype(np.int16), self._channels)

    def finish(self) -> None:
        """:raises UnreadableAudio: the body ended before its audio did."""
        if not self._in_data and self._held:
            raise UnreadableAudio("less than a WAV header")
        if self._left:
            raise UnreadableAudio("less audio than its WAV header says")

    def _begin(self) -> bool:
        """Whether the bytes at hand are enough to know where the audio begins; it then begins at `_held`."""
        if len(self._held) < 4:
            return False
        if self._held[:4] == b"RIFF":
            return self._parse_wav()
        if self._held.startswith(_COMPRESSED) or self._is_mpeg():
            raise UnreadableAudio("compressed audio")
        if self._expect == "wav":
            raise UnreadableAudio("something that is no WAV")
        self._in_data = True
        return True

    def _is_mpeg(self) -> bool:
        # The sync word alone could be PCM.
        return "mp" in self._content_type and self._held[0] == 0xFF and self._held[1] & 0xE0 == 0xE0

    def _parse_wav(self) -> bool:
        if len(self._held) >= 12 and self._held[8:12] != b"WAVE":
            raise UnreadableAudio("a RIFF file that is no WAV")
        position = 12
        known = False
        while len(self._held) >= position + 8:
            kind = self._held[position : position + 4]
            (size,) = struct.unpack_from("<I", self._held, position + 4)
            body = position + 8
            if kind == b"data":
                if not known:
                    raise UnreadableAudio("a WAV whose format comes after its audio")
                self._start_data(body, size)
                return True
            if len(self._held) < body + size:
                return False
            if kind == b"fmt ":
                self._read_format(self._held[body : body + size])
                known = True
            position = body + size + size % 2
        return False

    def _start_data(self, body: int, size: int) -> None:
        self._held = self._held[body:]
        self._in_data = True
        if 0 < size < _UNKNOWN_SIZE:
            self._left = size
            self.total_samples = size // ((4 if self._float else 2) * self._channels)

    def _read_format(self, body: bytes) -> None:
        if len(body) < 16:
            raise UnreadableAudio("a WAV with a broken format")
        code, self._channels, self.rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", body)
        if code == _EXTENSIBLE and len(body) >= 26:
            (code,) = struct.unpack_from("<H", body, 24)
        if (code, bits) not in ((_PCM, 16), (_FLOAT, 32)):
            raise UnreadableAudio(f"a WAV of {bits} bits (format {code}); int16 and float32 are read")
        if not 1 <= self._channels <= 8 or not 4000 <= self.rate_hz <= 192000:
            raise UnreadableAudio(f"a WAV of {self._channels} channels at {self.rate_hz} Hz")
        self._float = code == _FLOAT
