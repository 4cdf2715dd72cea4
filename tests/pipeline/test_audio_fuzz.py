"""Whatever a recording's file holds, its samples come out or an AudioInputError, and never more than the file has."""

from __future__ import annotations

import asyncio
import io
import os
import struct
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from antiphon import AudioInput, StreamedAudioInput
from antiphon.pipeline.audio_file import MAX_RATE_HZ, MIN_RATE_HZ, AudioFile, read_audio_file
from antiphon.pipeline.cli.inputs import raw_pcm
from antiphon.pipeline.errors import AudioInputError

WANTED_HZ = 16_000
FEW = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PCM, FLOAT, ALAW, MULAW, ADPCM, EXTENSIBLE = 1, 3, 6, 7, 2, 0xFFFE
_GUID = bytes.fromhex("000000001000800000aa00389b71")
UNKNOWN = 0xFFFFFFFF
"""A length that a program writes which cannot seek back."""


def read(path: Path, content: bytes) -> AudioFile | None:
    """What a file with this content gives; None: a clear error."""
    path.write_bytes(content)
    try:
        found = read_audio_file(path, WANTED_HZ)
    except AudioInputError as error:
        assert str(path) in str(error) and "Traceback" not in str(error), "the error names the file"
        return None
    samples = found.frame.samples
    assert found.frame.rate_hz == WANTED_HZ and samples.dtype == np.float32 and samples.ndim == 1
    assert np.isfinite(samples).all() and len(samples)
    assert np.abs(samples).max() <= 1.0
    # No format packs more than 8 samples into a byte, and none is read at less than 8 kHz.
    assert len(samples) <= 8 * len(content) * WANTED_HZ / MIN_RATE_HZ + WANTED_HZ
    return found


def chunk(name: bytes, body: bytes, length: int | None = None) -> bytes:
    return name + struct.pack("<I", len(body) if length is None else length) + body + b"\0" * (len(body) % 2)


def fmt(tag: int, channels: int, rate_hz: int, bits: int, *, extra: bytes = b"") -> bytes:
    block = (channels * bits // 8) & 0xFFFF
    return struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * block & 0xFFFFFFFF, block, bits) + extra


def extensible(channels: int, bits: int, tag: int = PCM) -> bytes:
    return struct.pack("<HHI", 22, bits, (1 << min(channels, 18)) - 1) + struct.pack("<H", tag) + _GUID


def wav(*chunks: bytes, magic: bytes = b"RIFF", length: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return magic + struct.pack("<I", len(body) if length is None else length) + body


_bytes = st.binary(max_size=400)
_names = st.sampled_from([b"LIST", b"fact", b"bext", b"cue ", b"JUNK", b"id3 ", b"data", b"fmt ", b"ds64", b"\0\0\0\0"])
_lengths = st.one_of(st.none(), st.sampled_from([0, 1, 2**31 - 1, 2**31, UNKNOWN]), st.integers(0, 2**32 - 1))
_rates = st.sampled_from([0, 1, 7999, 8000, 11_025, 44_100, 192_000, 192_001, 2**31, UNKNOWN]) | st.integers(
    0, 2**32 - 1
)


@st.composite
def lying_files(draw: st.DrawFn) -> bytes:
    """Well-built WAV files of which any field may be a lie, any part may be missing, doubled, or in the wrong place."""
    channels = draw(st.sampled_from([1, 2, 0, 3, 32, 33, 255, 65_535]))
    bits = draw(st.sampled_from([16, 8, 24, 32, 64, 4, 0, 1, 12, 65_535]))
    tag = draw(st.sampled_from([PCM, PCM, FLOAT, ALAW, MULAW, ADPCM, 0x11, 0x31, 0x55, EXTENSIBLE, 0, 0xABCD]))
    extra = extensible(channels, bits) if tag == EXTENSIBLE and draw(st.booleans()) else draw(st.binary(max_size=24))
    head = chunk(b"fmt ", fmt(tag, channels, draw(_rates), bits, extra=extra), draw(st.none() | _lengths))
    data = chunk(b"data", draw(_bytes), draw(_lengths))
    others = [chunk(name, body, length) for name, body, length in draw(
        st.lists(st.tuples(_names, st.binary(max_size=40), _lengths), max_size=3))]  # fmt: skip
    if draw(st.booleans()):
        sizes = struct.pack("<QQQI", *draw(st.tuples(*[st.integers(0, 2**64 - 1)] * 3)), 0)
        others.insert(0, chunk(b"ds64", sizes))
    parts = draw(st.permutations([head, data, *others])) if draw(st.booleans()) else [*others, head, data]
    magic = draw(st.sampled_from([b"RIFF", b"RF64", b"RIFX", b"FFIR", b"riff"]))
    whole = wav(*parts, magic=magic, length=draw(_lengths))
    return whole[: draw(st.integers(0, len(whole)))] if draw(st.booleans()) else whole


@FEW
@given(st.binary(max_size=300))
@example(b"RIFF")
@example(b"RIFF\xff\xff\xff\xffWAVE")
@example(b"fLaC" + b"\0" * 60)
@example(b"OggS" + b"\xff" * 60)
@example(b"FORM" + b"\0" * 60)
@example(b"caff" + b"\0" * 60)
@example(b".snd" + b"\xff" * 60)
@example(b"ID3\x04" + b"\0" * 60)
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    read(tmp_path / "a.wav", content)


@settings(FEW, max_examples=400)
@given(lying_files())
def test_headers_that_lie(tmp_path: Path, content: bytes) -> None:
    read(tmp_path / "a.wav", content)


def good_files() -> dict[str, bytes]:
    """One of each kind."""
    tone = (0.5 * np.sin(np.arange(4000) / 5)).astype(np.float32)
    found: dict[str, bytes] = {}
    kinds = [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("WAV", "IMA_ADPCM"),
             ("WAVEX", "PCM_16"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("FLAC", "PCM_16"),
             ("OGG", "VORBIS")]  # fmt: skip
    for container, subtype in kinds:
        buffer = io.BytesIO()
        soundfile.write(buffer, np.stack([tone, tone], axis=1), 16_000, subtype=subtype, format=container)
        found[f"{container} {subtype}"] = buffer.getvalue()
    return found


GOOD = good_files()


@settings(FEW, max_examples=250)
@given(st.sampled_from(sorted(GOOD)), st.data())
def test_good_files_with_damage(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    content = bytearray(GOOD[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        # Most of what can go wrong is in the beginning.
        last = data.draw(st.sampled_from([60, len(content) - 1]))
        at = data.draw(st.integers(0, min(last, len(content) - 1)))
        match data.draw(st.sampled_from(["set", "cut", "remove", "insert", "zero"])):
            case "set":
                content[at] = data.draw(st.integers(0, 255))
            case "cut":
                del content[max(1, at) :]
            case "remove":
                del content[at : at + data.draw(st.integers(1, 40))]
            case "insert":
                content[at:at] = data.draw(st.binary(max_size=40))
            case "zero":
                size = min(data.draw(st.integers(1, 64)), len(content) - at)
                content[at : at + size] = bytes(size)
        if not content:
            break
    read(tmp_path / "a.wav", bytes(content))


@FEW
@given(
    samples=st.lists(st.integers(-32768, 32767), min_size=1, max_size=200),
    channels=st.integers(1, 6),
    rate_hz=st.sampled_from([WANTED_HZ]),
    layout=st.sampled_from(["plain", "extensible", "rf64"]),
    others=st.lists(st.tuples(st.sampled_from([b"JUNK", b"PAD ", b"abcd"]), st.binary(max_size=33)), max_size=3),
    tail=st.booleans(),
)
def test_right_files_give_their_samples(
    tmp_path: Path,
    samples: list[int],
    channels: int,
    rate_hz: int,
    layout: str,
    others: list[tuple[bytes, bytes]],
    tail: bool,
) -> None:
    """Wherever the data chunk stands, and whatever stands around it."""
    pcm = np.array(samples[: len(samples) // channels * channels] or [0] * channels, dtype="<i2")
    body = pcm.tobytes()
    header = fmt(EXTENSIBLE, channels, rate_hz, 16, extra=extensible(channels, 16)) if layout == "extensible" else fmt(
        PCM, channels, rate_hz, 16)  # fmt: skip
    # libsndfile forgets the byte after an odd chunk of an RF64 file, and then refuses that file.
    around = [
        chunk(name, content[: len(content) // 2 * 2] if layout == "rf64" else content) for name, content in others
    ]
    parts = [chunk(b"fmt ", header), *around, chunk(b"data", body), *(around if tail else [])]
    content = wav(*parts)
    if layout == "rf64":
        sizes = struct.pack("<QQQI", len(content) + 36 - 8, len(body), len(pcm) // channels, 0)
        parts = [chunk(b"ds64", sizes), *parts[:-1], chunk(b"data", body, UNKNOWN)] if not tail else parts
        content = wav(*parts, magic=b"RIFF" if tail else b"RF64", length=None if tail else UNKNOWN)
    found = read(tmp_path / "a.wav", content)
    assert found is not None
    expected = (pcm.reshape(-1, channels).astype(np.float32) / 32768).mean(axis=1)
    np.testing.assert_allclose(found.frame.samples, expected, atol=2e-5)
    assert (found.channels, found.source_rate_hz, found.warnings) == (channels, rate_hz, ())


@pytest.mark.parametrize("channels", [1, 32])
def test_a_header_that_promises_much_costs_nothing(tmp_path: Path, channels: int) -> None:
    """4 GiB of samples by the header, or 2**63 of them; 2000 bytes in truth."""
    pcm = np.arange(1000, dtype="<i2").tobytes()[: 64 * 31]
    head = fmt(PCM, channels, MAX_RATE_HZ, 16)
    plain = wav(chunk(b"fmt ", head), chunk(b"data", pcm, 0xFFFFFFF0), length=0xFFFFFFF0)
    sizes = struct.pack("<QQQI", 2**63, 2**63 - 4096, 2**63, 0)
    large = wav(
        chunk(b"ds64", sizes), chunk(b"fmt ", head), chunk(b"data", pcm, UNKNOWN), magic=b"RF64", length=UNKNOWN
    )
    read(tmp_path / "a.wav", GOOD["WAV PCM_16"])  # what is imported and compiled once
    for content in (plain, large):
        tracemalloc.start()
        try:
            read(tmp_path / "a.wav", content)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 60_000_000, f"{peak} bytes: one second of 32 channels at 192 kHz is 25 MB"


# --------------------------------------------------------------------------------------- streamed audio


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Puts bytes into standard input; returns their frames, or None for an error."""

    def feed(content: bytes, rate_hz: int) -> list[np.ndarray] | None:
        with tempfile.TemporaryFile() as file:
            file.write(content)
            file.seek(0)
            monkeypatch.setattr("sys.stdin", file)

            async def main() -> list[np.ndarray]:
                return [frame.samples async for frame in raw_pcm(rate_hz, paced=False)]

            try:
                return asyncio.run(main())
            except AudioInputError:
                return None

    yield feed


@settings(FEW, max_examples=60)
@given(content=st.binary(max_size=3000), rate_hz=st.sampled_from([8000, 16_000, 48_000]))
def test_raw_pcm(stdin: Any, content: bytes, rate_hz: int) -> None:
    frames = stdin(content, rate_hz)
    if len(content) % 2:
        assert frames is None, "half a sample at the end is an error"
        return
    assert all(len(frame) <= rate_hz // 50 for frame in frames)
    whole = np.concatenate([*frames, np.zeros(0, np.float32)])
    np.testing.assert_array_equal(whole, np.frombuffer(content, "<i2").astype(np.float32) / 32768)


_dtypes = st.sampled_from(["i2", "f4", "f8", "f2", "i4", "u1", "?", "c8", "U3", "O", ">i2"])
_shapes = st.lists(st.integers(0, 20), min_size=0, max_size=3).map(tuple)


@FEW
@given(_dtypes, _shapes, st.sampled_from([1, 2, 3, 16, 17, 0]), st.binary(max_size=64))
@example("f4", (), 1, b"")
@example("O", (3,), 1, b"")
def test_any_array(dtype: str, shape: tuple[int, ...], channels: int, noise: bytes) -> None:
    """Odd buffers are refused in words; good ones become finite mono samples."""
    count = int(np.prod(shape, dtype=int))
    size = np.dtype(dtype).itemsize
    array: np.ndarray = (
        np.full(shape, None, dtype=object)
        if dtype in ("O", "U3")
        else np.frombuffer((noise * (count * size // max(1, len(noise)) + 1) + bytes(count * size))[: count * size],
                           dtype=dtype).reshape(shape)
    )  # fmt: skip

    async def main() -> list[np.ndarray]:
        streamed = StreamedAudioInput(frame_rate=16_000, channels=channels)
        await streamed.add_audio(array)
        await streamed.add_audio(None)
        return [frame.samples async for frame in streamed.frames()]

    try:
        whole = AudioInput(array, 16_000, channels=channels).frame().samples
    except AudioInputError as error:
        assert str(error)
        with pytest.raises(AudioInputError):
            asyncio.run(main())
        return
    pieces = asyncio.run(main())
    assert whole.dtype == np.float32 and whole.ndim == 1 and np.isfinite(whole).all()
    assert np.abs(whole).max(initial=0.0) <= 1.0
    np.testing.assert_array_equal(np.concatenate([*pieces, np.zeros(0, np.float32)]), whole)


def test_a_fifo_is_no_recording(tmp_path: Path) -> None:
    """Reading it would wait for ever."""
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(AudioInputError, match=r"a\.wav"):
        read_audio_file(tmp_path / "a.wav")
