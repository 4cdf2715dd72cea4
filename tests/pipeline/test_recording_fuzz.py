"""A recording that was cut, changed or made up: its samples come out or a TranscriptError, never anything else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from antiphon.engines.audio import AudioFrame
from antiphon.pipeline.transcript.errors import RecordingDamaged, TranscriptError
from antiphon.pipeline.transcript.recording import RecordedAudio, read_recording, start_recording
from antiphon.pipeline.transcript.sealed import RecordingKey

KEY = RecordingKey(bytes(range(32)))
RATE_HZ = 8000
FEW = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def recorded(folder: Path, key: RecordingKey | None) -> bytes:
    async def main() -> str:
        recording = start_recording(folder, "s", RATE_HZ, key=key)
        tone = (0.5 * np.sin(np.arange(RATE_HZ * 5) / 7)).astype(np.float32)
        for at in range(0, len(tone), RATE_HZ // 10):
            recording.hear(AudioFrame(tone[at : at + RATE_HZ // 10], RATE_HZ, at / RATE_HZ))
        await recording.aclose()
        return recording.file

    return (folder / asyncio.run(main())).read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return {
        "plain": recorded(tmp_path_factory.mktemp("plain"), None),
        "sealed": recorded(tmp_path_factory.mktemp("sealed"), KEY),
    }


def read(path: Path, content: bytes) -> RecordedAudio | None:
    """None: a clear error."""
    path.write_bytes(content)
    try:
        found = read_recording(path, lambda: KEY)
    except TranscriptError as error:
        assert str(path) in str(error), "the error names the file"
        return None
    assert found.samples.ndim == 2 and found.samples.shape[1] == 2 and np.isfinite(found.samples).all()
    assert found.rate_hz > 0
    return found


@FEW
@given(st.binary(max_size=300))
@example(b"")
@example(b"fLaC" + b"\0" * 40)
@example(b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\x04\0\0\0\1\0\2\0")
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    read(tmp_path / "s.flac", content)


@settings(FEW, max_examples=200)
@given(st.sampled_from(["plain", "sealed"]), st.data())
def test_recordings_with_damage(tmp_path: Path, whole: dict[str, bytes], kind: str, data: st.DataObject) -> None:
    content = bytearray(whole[kind])
    for _ in range(data.draw(st.integers(1, 3))):
        last = data.draw(st.sampled_from([64, len(content) - 1]))
        at = data.draw(st.integers(0, max(0, min(last, len(content) - 1))))
        match data.draw(st.sampled_from(["set", "cut", "remove", "insert"])):
            case "set" if content:
                content[at] ^= data.draw(st.integers(1, 255))
            case "cut":
                del content[at:]
            case "remove":
                del content[at : at + data.draw(st.integers(1, 64))]
            case "insert":
                content[at:at] = data.draw(st.binary(min_size=1, max_size=64))
    found = read(tmp_path / "s.flac", bytes(content))
    if found is not None and kind == "sealed" and found.complete:
        assert bytes(content[: len(whole[kind])]) == whole[kind], "what was changed is not taken for whole"


@settings(FEW, max_examples=60)
@given(st.sampled_from(["plain", "sealed"]), st.data())
def test_what_was_written_before_a_kill_is_read(
    tmp_path: Path, whole: dict[str, bytes], kind: str, data: st.DataObject
) -> None:
    """A file that ends anywhere: its samples are the first ones of the whole file."""
    content = whole[kind]
    all_of_it = read(tmp_path / "whole.flac", content)
    assert all_of_it is not None and all_of_it.complete and len(all_of_it.samples) == 5 * RATE_HZ
    found = read(tmp_path / "s.flac", content[: data.draw(st.integers(0, len(content) - 1))])
    if found is not None and kind == "sealed":
        assert not found.complete or len(found.samples) == len(all_of_it.samples)
        np.testing.assert_array_equal(found.samples, all_of_it.samples[: len(found.samples)])


def test_a_file_that_is_no_recording_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "s.flac").write_bytes(b"what is this?" * 100)
    with pytest.raises(RecordingDamaged, match=r"s\.flac"):
        read_recording(tmp_path / "s.flac", lambda: KEY)
