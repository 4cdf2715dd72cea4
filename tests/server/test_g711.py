"""The telephone's codes, against the tables of another implementation (FFmpeg's)."""

from __future__ import annotations

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.server import g711

LAWS: tuple[g711.Law, ...] = ("mulaw", "alaw")


@pytest.mark.parametrize("law", LAWS)
def test_every_code_means_what_it_means_elsewhere(law: g711.Law) -> None:
    decoder = av.CodecContext.create(f"pcm_{law}", "r")
    decoder.sample_rate, decoder.layout = g711.RATE_HZ, "mono"  # type: ignore[attr-defined]
    (frame,) = decoder.decode(av.Packet(bytes(range(256))))  # type: ignore[attr-defined]
    expected = frame.to_ndarray().ravel()
    assert np.array_equal(g711.decode(bytes(range(256)), law) * 32768, expected)


@pytest.mark.parametrize("law", LAWS)
def test_every_sample_becomes_the_nearest_code_of_its_side(law: g711.Law) -> None:
    encoder = av.CodecContext.create(f"pcm_{law}", "w")
    encoder.sample_rate, encoder.layout, encoder.format = g711.RATE_HZ, "mono", "s16"  # type: ignore[attr-defined]
    samples = np.arange(-32768, 32768).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
    frame.sample_rate = g711.RATE_HZ
    theirs = g711.decode(b"".join(bytes(packet) for packet in encoder.encode(frame)), law) * 32768  # type: ignore[attr-defined]
    ours = g711.decode(g711.encode(samples.astype(np.float32) / 32768, law), law) * 32768
    assert (np.abs(ours - samples) <= np.abs(theirs - samples) + 1e-6).all(), "none is further away than theirs"
    same = ours == theirs
    assert same.mean() > 0.98, "they differ at the borders between two values at most"


@pytest.mark.parametrize("law", LAWS)
def test_a_code_survives_the_way_there_and_back(law: g711.Law) -> None:
    codes = bytes(range(256))
    there = g711.decode(codes, law)
    again = g711.encode(there, law)
    differing = [code for code, back in zip(codes, again, strict=True) if code != back]
    assert differing == ([0x7F] if law == "mulaw" else []), "mu-law has two zeros, of which the positive one is sent"
    assert np.array_equal(g711.decode(again, law), there)


@given(st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), max_size=50), st.sampled_from(LAWS))
def test_anything_can_be_encoded(values: list[float], law: g711.Law) -> None:
    samples = np.array(values, dtype=np.float32)
    heard = g711.decode(g711.encode(samples, law), law)
    assert heard.dtype == np.float32 and len(heard) == len(samples)
    clean = np.clip(np.nan_to_num(samples, nan=0.0, posinf=1, neginf=-1), -1, 1)
    assert (np.abs(heard - clean) <= np.maximum(np.abs(clean) * 0.07, 0.001) + 0.02 * (np.abs(clean) > 0.98)).all()


def test_silence_is_silence() -> None:
    for law, code in (("mulaw", 0xFF), ("alaw", 0xD5)):
        assert g711.encode(np.zeros(3, np.float32), law) == bytes([code] * 3)  # type: ignore[arg-type]
