"""G.711, the two codes of the telephone: 8 bits a sample, mu-law and A-law, to and from samples.

Exact per ITU-T G.711: decoding gives the standard's values (14 bits for mu-law, 13 bits for A-law, on the scale of 16),
encoding gives the code whose value is nearest among those on the same side of zero. Tables are made once, at import.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from antiphon.engines.audio import Samples

Law = Literal["mulaw", "alaw"]
RATE_HZ = 8000
_SCALE = np.float32(32768.0)


def _mulaw_values() -> NDArray[np.int16]:
    code = ~np.arange(256, dtype=np.int32) & 0xFF  # sent inverted
    exponent, mantissa = (code >> 4) & 0x07, code & 0x0F
    magnitude = (((mantissa << 3) + 0x84) << exponent) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_values() -> NDArray[np.int16]:
    code = np.arange(256, dtype=np.int32) ^ 0x55  # even bits are sent inverted
    exponent, mantissa = (code >> 4) & 0x07, code & 0x0F
    linear = (mantissa << 4) + 8
    magnitude = np.where(exponent == 0, linear, (linear + 0x100) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)  # a set bit is positive


def _codes(values: NDArray[np.int16], negative: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The code of each 16-bit sample (index: sample + 32768): the nearest value of its sign, the smaller on a tie."""
    table = np.empty(65536, dtype=np.uint8)
    for below in (True, False):
        codes = np.flatnonzero(negative == below)
        magnitudes = np.abs(values[codes].astype(np.int32))
        order = np.argsort(magnitudes, kind="stable")
        codes, magnitudes = codes[order], magnitudes[order]
        samples = np.arange(-32768, 0) if below else np.arange(0, 32768)
        # The border between two values belongs to the larger one, as the standard's decision values do.
        borders = (magnitudes[:-1] + magnitudes[1:]) / 2
        table[samples + 32768] = codes[np.searchsorted(borders, np.abs(samples), side="right")]
    return table


_VALUES: dict[Law, NDArray[np.int16]] = {"mulaw": _mulaw_values(), "alaw": _alaw_values()}
_DECODED: dict[Law, Samples] = {law: values.astype(np.float32) / _SCALE for law, values in _VALUES.items()}
_CODES: dict[Law, NDArray[np.uint8]] = {
    "mulaw": _codes(_VALUES["mulaw"], np.arange(256) < 128),
    "alaw": _codes(_VALUES["alaw"], np.arange(256) < 128),
}


def decode(data: bytes, law: Law) -> Samples:
    """One byte a sample, at 8 kHz, to float32 in (-1, 1)."""
    return _DECODED[law][np.frombuffer(data, dtype=np.uint8)]


def encode(samples: Samples, law: Law) -> bytes:
    """float32 in [-1, 1], at 8 kHz, to one byte a sample. Out of range: clipped; no number: silence."""
    clean = np.clip(np.nan_to_num(samples, nan=0.0), -1.0, 1.0)
    index = np.minimum(np.rint(clean * _SCALE), 32767).astype(np.int32) + 32768
    return bytes(_CODES[law][index])
