"""Asterisk's AudioSocket on the wire: a byte of type, two of length (big-endian), then the payload. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass

HANGUP, UUID, DTMF, ERROR = 0x00, 0x01, 0x03, 0xFF
RATES_HZ = {
    0x10: 8000,
    0x11: 12000,
    0x12: 16000,
    0x13: 24000,
    0x14: 32000,
    0x15: 44100,
    0x16: 48000,
    0x17: 96000,
    0x18: 192000,
}
"""Audio by its type: signed linear, 16 bits, mono, little-endian, at so many Hz."""
ERRORS = {0x01: "the caller has hung up", 0x02: "frame forwarding failed", 0x04: "memory allocation failed"}
"""What Asterisk says by its codes."""

_HEADER = struct.Struct(">BH")
HEADER_BYTES = _HEADER.size


@dataclass(frozen=True, slots=True)
class Packet:
    kind: int
    payload: bytes = b""

    def encoded(self) -> bytes:
        """:raises struct.error: the payload is longer than 65535 bytes."""
        return _HEADER.pack(self.kind, len(self.payload)) + self.payload


def parse_header(data: bytes) -> tuple[int, int]:
    """Type and payload length of the three bytes that begin a packet."""
    kind, length = _HEADER.unpack(data)
    return kind, length
