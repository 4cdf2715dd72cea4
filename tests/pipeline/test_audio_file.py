"""Reading recordings: every usual kind gives the same samples, every damaged one its own answer."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from antiphon.pipeline.audio_file import read_audio, read_audio_file
from antiphon.pipeline.errors import AudioInputError


def sweep(rate_hz: int, seconds: float = 1.5) -> np.ndarray:
    """A gliding tone, 200-1500 Hz, so that any shift in time or rate shows."""
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * (200 * t + 650 * t**2 / seconds))).astype(np.float32)


def write(path: Path, rate_hz: int = 16_000, subtype: str | None = "PCM_16", channels: int = 1, s: float = 1.5) -> Path:
    samples = sweep(rate_hz, s)
    soundfile.write(path, np.stack([samples] * channels, axis=1), rate_hz, subtype=subtype)
    return path


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000])
@pytest.mark.parametrize(("subtype", "channels"), [("PCM_16", 1), ("PCM_24", 2), ("FLOAT", 1), ("PCM_U8", 1)])
def test_rates_depths_and_channels_give_the_same_samples(
    tmp_path: Path, rate_hz: int, subtype: str, channels: int
) -> None:
    found = read_audio_file(write(tmp_path / "a.wav", rate_hz, subtype, channels), 16_000)
    expected = sweep(16_000)
    assert found.frame.rate_hz == 16_000
    assert found.frame.samples.dtype == np.float32
    assert abs(len(found.frame.samples) - len(expected)) <= 2
    n = min(len(found.frame.samples), len(expected))
    inner = slice(800, n - 800)  # a resampler's edges are its own
    assert np.abs(found.frame.samples[:n][inner] - expected[:n][inner]).max() < 0.02
    assert (found.source_rate_hz, found.channels, found.warnings) == (rate_hz, channels, ())


@pytest.mark.parametrize(("name", "subtype"), [("a.flac", "PCM_16"), ("a.flac", "PCM_24"), ("a.ogg", None)])
def test_flac_and_ogg(tmp_path: Path, name: str, subtype: str | None) -> None:
    samples = read_audio(write(tmp_path / name, 48_000, subtype, 2)).samples
    assert abs(len(samples) - 24_000) <= 2
    assert np.abs(samples[800:-800] - sweep(16_000)[800 : len(samples) - 800]).max() < 0.05


def test_stereo_is_averaged(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.tile(np.array([[0.5, -0.5]], np.float32), (16_000, 1)), 16_000, subtype="FLOAT")
    assert np.abs(read_audio(path).samples).max() < 1e-6


def test_broken_floats_become_silence(tmp_path: Path) -> None:
    samples = sweep(16_000)
    samples[100:200] = np.nan
    samples[300] = np.inf
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    found = read_audio(path).samples
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 1.0


def test_any_rate_can_be_asked_for(tmp_path: Path) -> None:
    frame = read_audio(write(tmp_path / "a.wav", 16_000), 24_000)
    assert (frame.rate_hz, abs(len(frame.samples) - 36_000) <= 2) == (24_000, True)


# ------------------------------------------------------------------------------- damaged recordings


def test_a_truncated_body_is_used_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.wav", s=2.0)
    path.write_bytes(path.read_bytes()[: 44 + 32_000])
    with caplog.at_level(logging.WARNING):
        found = read_audio_file(path)
    assert found.frame.duration_s == pytest.approx(1.0, abs=0.01)
    assert found.warnings == ("the file is cut off: 1.0 s less than its header says",)
    assert caplog.records[0].getMessage() == "damaged recording"


def test_a_truncated_flac_is_used_with_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", s=4.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = read_audio_file(path)
    assert 0.5 < found.frame.duration_s < 3.5
    assert len(found.warnings) == 1


def test_a_header_without_a_length_is_no_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav")
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"  # as written into a pipe
    path.write_bytes(data)
    found = read_audio_file(path)
    assert (found.frame.duration_s, found.warnings) == (pytest.approx(1.5), ())


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    with pytest.raises(AudioInputError, match=r"a\.wav: the file is empty \(0 bytes\)"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("kept", [4, 11, 20, 30])
def test_a_truncated_header(tmp_path: Path, kept: int) -> None:
    path = write(tmp_path / "a.wav")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(AudioInputError, match="the WAV header is cut off or broken"):
        read_audio(path)


def test_a_recording_without_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0, np.float32), 16_000)
    with pytest.raises(AudioInputError, match="holds no samples"):
        read_audio(path)


def test_what_is_no_audio(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_text("# a page of text\n" * 50)
    with pytest.raises(AudioInputError, match="no audio that can be read here") as caught:
        read_audio(path)
    assert "ffmpeg" in caught.value.hint


@pytest.mark.parametrize("rate_hz", [1, 4000, 7999, 192_001, 2_000_000])
def test_an_absurd_rate(tmp_path: Path, rate_hz: int) -> None:
    path = write(tmp_path / "a.wav")
    data = bytearray(path.read_bytes())
    data[24:28] = rate_hz.to_bytes(4, "little")
    data[28:32] = (2 * rate_hz).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(AudioInputError, match=f"a sample rate of {rate_hz} Hz is not usable"):
        read_audio(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(AudioInputError, match="no such file"):
        read_audio(tmp_path / "none.wav")
    with pytest.raises(AudioInputError, match="this is a folder"):
        read_audio(tmp_path)


def test_ten_minutes_are_read_and_more_than_the_limit_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(600 * 8000, np.int16), 8000)
    assert read_audio(path).duration_s == pytest.approx(600.0, abs=0.01)
    with pytest.raises(AudioInputError, match="longer than 60 s"):
        read_audio(path, max_s=60.0)
