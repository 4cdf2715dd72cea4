"""Opus in packets of a call, by libopus: 48 kHz, mono."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from av import AudioFrame as AvFrame
from av import CodecContext
from av.audio.codeccontext import AudioCodecContext
from av.error import FFmpegError
from av.packet import Packet as AvPacket
from numpy.typing import NDArray

RATE_HZ = 48000
FRAME_SAMPLES = 960
FRAME_S = FRAME_SAMPLES / RATE_HZ
BIT_RATE = 48000
SILENT_BYTES = 3
"""No longer is a packet in which nothing sounds."""

Pcm = NDArray[np.int16]
"""Mono samples, int16, shape (n,)."""
SILENCE: Pcm = np.zeros(FRAME_SAMPLES, dtype=np.int16)


class BadPacket(Exception):
    """Bytes that are no Opus."""


class OpusDecoder:
    """One stream's; packets in order."""

    def __init__(self) -> None:
        codec = CodecContext.create("libopus", "r")
        assert isinstance(codec, AudioCodecContext)
        codec.format = "s16"
        codec.layout = "mono"
        codec.sample_rate = RATE_HZ
        self._codec = codec

    def decode(self, payload: bytes) -> Pcm:
        """
        :raises BadPacket: it is none.
        """
        if not payload:  # it would end the stream
            raise BadPacket("an empty packet")
        try:
            frames = self._codec.decode(AvPacket(payload))
        except FFmpegError as error:
            raise BadPacket(f"{len(payload)} bytes are no packet of Opus: {error}") from error
        return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]) if frames else SILENCE[:0]


class OpusEncoder:
    """One stream's; frames of :data:`FRAME_SAMPLES`.

    The mode without speech prediction is used: it looks ahead by 2.5 ms in place of 6.5, and silence is one short
    packet that depends on nothing before it, so that it need be made once only.
    """

    def __init__(self) -> None:
        codec = CodecContext.create("libopus", "w")
        assert isinstance(codec, AudioCodecContext)
        codec.format = "s16"
        codec.layout = "mono"
        codec.sample_rate = RATE_HZ
        codec.bit_rate = BIT_RATE
        codec.options = {"application": "lowdelay", "frame_duration": "20", "vbr": "constrained"}
        codec.time_base = Fraction(1, RATE_HZ)
        self._codec = codec
        self._pts = 0
        self._silence: bytes | None = None
        """The packet for silence, once the last sound has died away."""

    def encode(self, samples: Pcm | None) -> bytes:
        """
        :param samples: int16, :data:`FRAME_SAMPLES` of them; None: silence.
        """
        if samples is None and self._silence is not None:
            return self._silence
        frame = AvFrame.from_ndarray((SILENCE if samples is None else samples).reshape(1, -1), "s16", "mono")
        frame.sample_rate = RATE_HZ
        frame.pts = self._pts
        self._pts += FRAME_SAMPLES
        payload = b"".join(bytes(packet) for packet in self._codec.encode(frame))
        self._silence = payload if samples is None and len(payload) <= SILENT_BYTES else None
        return payload
