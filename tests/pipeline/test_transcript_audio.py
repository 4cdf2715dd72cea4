"""Recordings: both sides on one clock, in a file that survives its process, encrypted where asked for."""

from __future__ import annotations

import asyncio
import base64
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.audio import AudioFrame
from antiphon.engines.testing import run_virtual
from antiphon.pipeline.transcript import (
    RecordedTransport,
    Recording,
    RecordingDamaged,
    RecordingKey,
    TranscriptKeyError,
    read_recording,
    start_recording,
)
from antiphon.pipeline.transcript.recording import RecordingError, file_name
from antiphon.pipeline.transcript.sealed import KEY_VARIABLE
from antiphon.pipeline.transcript.timeline import Timeline
from antiphon.pipeline.transports.recording import RecordingTransport, recording_frames

RATE = 8000
KEY = RecordingKey(bytes(range(32)))


def tone(seconds: float, level: float, rate_hz: int = RATE, start_s: float = 0.0) -> AudioFrame:
    return AudioFrame(np.full(round(seconds * rate_hz), level, dtype=np.float32), rate_hz, start_s)


def no_key() -> RecordingKey:
    raise AssertionError("asked for a key")


def spans(samples: Any, rate_hz: int = RATE) -> list[tuple[float, float]]:
    """Where there is sound: begin and end in seconds."""
    on = np.concatenate([[False], np.abs(samples) > 0.05, [False]])
    edges = np.flatnonzero(np.diff(on.astype(int)))
    return [(start / rate_hz, end / rate_hz) for start, end in zip(edges[::2], edges[1::2], strict=True)]


# ------------------------------------------------------------------------------------ the time line


def test_a_reply_lies_where_it_was_heard() -> None:
    line = Timeline(RATE)
    line.hear(tone(1.0, 0.1))
    line.play(tone(0.5, 0.5), 1.25)
    line.hear(tone(1.0, 0.1))
    out = line.take()
    assert len(out) == 2 * RATE and spans(out[:, 1]) == [(1.25, 1.75)] and spans(out[:, 0]) == [(0.0, 2.0)]


def test_pieces_of_a_reply_join_without_a_seam() -> None:
    line = Timeline(RATE)
    line.hear(tone(0.5, 0.0))
    for number in range(10):
        line.play(tone(0.1, 0.5), 0.5 + number * 0.1 + (0.0003 if number % 2 else -0.0003))
    line.hear(tone(2.0, 0.0))
    assert spans(line.take()[:, 1]) == [pytest.approx((0.5, 1.5), abs=0.001)]


def test_what_was_taken_back_is_not_in_the_recording() -> None:
    line = Timeline(RATE)
    line.hear(tone(1.0, 0.0))
    line.play(tone(2.0, 0.5), 1.0)
    line.hear(tone(0.5, 0.0))
    line.clear(1.5)
    line.hear(tone(2.0, 0.0))
    line.play(tone(0.25, 0.5), 3.0)
    assert spans(line.take(all_of_it=True)[:, 1]) == [(1.0, 1.5), (3.0, 3.25)]


def test_a_pause_puts_the_rest_off() -> None:
    line = Timeline(RATE)
    line.hear(tone(1.0, 0.0))
    line.play(tone(1.0, 0.5), 1.0)
    line.hear(tone(0.25, 0.0))
    line.pause(1.25)
    line.hear(tone(1.0, 0.0))
    held = line.take()
    line.resume(2.25)
    line.hear(tone(2.0, 0.0))
    out = np.concatenate([held, line.take(all_of_it=True)])
    assert spans(out[:, 1]) == [(1.0, 1.25), (2.25, 3.0)]


def test_a_pause_that_becomes_an_interruption_ends_the_reply() -> None:
    line = Timeline(RATE)
    line.hear(tone(1.0, 0.0))
    line.play(tone(1.0, 0.5), 1.0)
    line.pause(1.25)
    line.hear(tone(1.0, 0.0))
    line.clear()
    line.hear(tone(1.0, 0.0))
    assert spans(line.take(all_of_it=True)[:, 1]) == [(1.0, 1.25)]


def test_what_is_heard_after_the_last_input_is_kept_at_the_end() -> None:
    line = Timeline(RATE)
    line.hear(tone(1.0, 0.0))
    line.play(tone(1.0, 0.5), 1.0)
    assert len(line.take()) == RATE
    assert spans(line.take(all_of_it=True)[:, 1]) == [(0.0, 1.0)]


def test_a_stream_that_begins_late_is_led_in_by_silence() -> None:
    line = Timeline(RATE)
    line.hear(tone(0.5, 0.5, start_s=1.5))
    assert spans(line.take()[:, 0]) == [(1.5, 2.0)]


@given(st.lists(st.tuples(st.floats(0.01, 0.4), st.floats(0.0, 1.0), st.booleans()), max_size=20), st.randoms())
def test_however_it_is_taken_the_time_line_is_the_same(steps: list[tuple[float, float, bool]], chance: Any) -> None:
    """Taking often or rarely, the same samples come out, and none twice."""

    def run(often: bool) -> Any:
        line = Timeline(RATE)
        out = []
        for seconds, ahead_s, plays in steps:
            line.hear(tone(seconds, 0.1))
            if plays:
                line.play(tone(seconds, 0.5), line.now / RATE + ahead_s)
            if often and chance.random() < 0.5:
                out.append(line.take())
        out.append(line.take(all_of_it=True))
        return np.concatenate(out)

    seldom, often = run(False), run(True)
    assert np.array_equal(seldom, often)


# ------------------------------------------------------------------------------------ files


def feed(recording: Recording, seconds: float, rate_hz: int = 16000) -> None:
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    samples = (0.4 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    for at in range(0, len(samples), 320):
        recording.hear(AudioFrame(samples[at : at + 320], rate_hz, at / rate_hz))


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "sealed"])
def test_a_recording_is_read_as_it_was_written(tmp_path: Path, key: RecordingKey | None) -> None:
    async def main() -> Recording:
        recording = start_recording(tmp_path / "new", "sess_a", 24000, key=key)
        recording.timeline.play(tone(0.5, 0.25, 24000), 2.0)
        feed(recording, 5.3)
        assert await recording.aclose()
        return recording

    recording = asyncio.run(main())
    path = tmp_path / "new" / recording.file
    audio = read_recording(path, lambda: KEY)
    assert audio.complete and audio.rate_hz == 24000
    assert len(audio.samples) / 24000 == pytest.approx(5.3, abs=0.01) == recording.duration_s
    user = audio.samples[2000:-2000, 0]
    expected = 0.4 * np.sin(2 * np.pi * 440 * np.arange(len(audio.samples)) / 24000)[2000:-2000]
    assert np.max(np.abs(user - expected)) < 0.01, "in time to the sample"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (b"fLaC" in path.read_bytes()) == (key is None), "nothing of an encrypted one is in the clear"


def test_a_late_reply_lies_on_the_streams_clock(tmp_path: Path) -> None:
    """The whole way: a session's transport, wrapped, on a virtual clock."""

    async def main() -> None:
        recording = start_recording(tmp_path, "sess_a", RATE)
        inner = RecordingTransport(recording_frames(tone(4.0, 0.1), paced=True), paced=True)
        transport = RecordedTransport(inner, recording)

        async def speak() -> None:
            await asyncio.sleep(1.0)
            for _ in range(10):
                await transport.play(tone(0.1, 0.5), 1)
            await transport.drain()
            await asyncio.sleep(0.5)
            for _ in range(10):
                await transport.play(tone(0.1, 0.5), 2)
            await asyncio.sleep(0.1)
            transport.clear()

        speaking = asyncio.create_task(speak())
        async for _ in transport.frames():
            pass
        await speaking
        assert await recording.aclose()
        assert len(inner.played) > 0 and transport.heard is inner.heard

    run_virtual(main())
    audio = read_recording(tmp_path / "sess_a.flac", no_key)
    first, second = spans(audio.samples[:, 1])
    assert first == pytest.approx((1.0, 2.0), abs=0.03)
    assert second == pytest.approx((2.5, 3.0), abs=0.03)


def test_a_reply_that_was_paused_and_taken_back_is_recorded_as_it_was_heard(tmp_path: Path) -> None:
    async def main() -> None:
        recording = start_recording(tmp_path, "sess_a", RATE)
        transport = RecordedTransport(
            RecordingTransport(recording_frames(tone(6.0, 0.1), paced=True), paced=True), recording
        )

        async def speak() -> None:
            await asyncio.sleep(1.0)
            for _ in range(30):
                await transport.play(tone(0.1, 0.5), 1)

        async def interrupt() -> None:
            await asyncio.sleep(1.5)
            transport.pause()
            await asyncio.sleep(1.0)
            transport.resume()
            await asyncio.sleep(0.5)
            transport.clear()
            tasks[0].cancel()

        tasks = [asyncio.create_task(speak()), asyncio.create_task(interrupt())]
        async for _ in transport.frames():
            pass
        await asyncio.wait(tasks)
        assert await recording.aclose()

    run_virtual(main())
    audio = read_recording(tmp_path / "sess_a.flac", no_key)
    assert spans(audio.samples[:, 1]) == [pytest.approx((1.0, 1.5), abs=0.03), pytest.approx((2.5, 3.0), abs=0.03)]


def test_a_recording_without_a_clock_has_replies_behind_their_questions(tmp_path: Path) -> None:
    async def main() -> None:
        recording = start_recording(tmp_path, "sess_a", RATE)
        transport = RecordedTransport(
            RecordingTransport(recording_frames(tone(1.0, 0.1), paced=False), paced=False), recording
        )
        async for frame in transport.frames():
            if frame.end_s == pytest.approx(0.5):
                await transport.play(tone(0.2, 0.5), 1)
                await transport.play(tone(0.2, 0.5), 1)
        await recording.aclose()

    asyncio.run(main())
    audio = read_recording(tmp_path / "sess_a.flac", no_key)
    assert spans(audio.samples[:, 1]) == [pytest.approx((0.5, 0.9), abs=0.001)]


KILLED = """
import asyncio, os, pathlib, signal, sys, time
import numpy as np
from antiphon.engines.audio import AudioFrame
from antiphon.pipeline.transcript import RecordingKey, start_recording
async def main():
    key = RecordingKey(bytes(range(32))) if sys.argv[2] == "sealed" else None
    recording = start_recording(pathlib.Path(sys.argv[1]), "sess_a", 8000, key=key)
    for number in range(500):
        recording.hear(AudioFrame(np.full(160, 0.5, np.float32), 8000, number * 0.02))
    while not all(future.done() for future in recording._writing):
        await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["plain", "sealed"])
def test_a_recording_of_a_process_that_was_killed_is_read_as_far_as_it_got(tmp_path: Path, kind: str) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), kind], check=False, timeout=300)
    (path,) = tmp_path.iterdir()
    audio = read_recording(path, lambda: KEY)
    assert not audio.complete
    assert 7.5 <= len(audio.samples) / 8000 <= 10 and np.all(audio.samples[:, 0] > 0.4)


def test_a_disk_that_fails_ends_the_recording_and_not_the_conversation(tmp_path: Path) -> None:
    told: list[str] = []

    class Full:
        def write(self, block: Any) -> None:
            raise OSError("No space left on device")

        def close(self) -> None:
            raise OSError("still none")

    async def main() -> None:
        recording = Recording(Full, "sess_a.flac", RATE, on_failure=told.append)
        feed(recording, 3.0, RATE)
        await asyncio.sleep(0.05)
        feed(recording, 3.0, RATE)
        assert not await recording.aclose()

    asyncio.run(main())
    assert told == ["No space left on device"]


def test_a_recording_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "sess_a.flac").write_bytes(b"precious")
    with pytest.raises(RecordingError, match="there is a recording of this session already"):
        start_recording(tmp_path, "sess_a", RATE)
    with pytest.raises(RecordingError, match="cannot be written"):
        start_recording(tmp_path / "sess_a.flac" / "below", "sess_a", RATE)


@given(st.text())
def test_no_sessions_id_leads_out_of_the_folder(session: str) -> None:
    name = file_name(session, sealed=False)
    assert Path(name).name == name and not name.startswith(".") and len(name) < 200


# ------------------------------------------------------------------------------------ keys


def sealed(folder: Path) -> Path:
    async def main() -> str:
        recording = start_recording(folder, "sess_a", RATE, key=KEY)
        feed(recording, 5.0, RATE)
        await recording.aclose()
        return recording.file

    return folder / asyncio.run(main())


def test_a_changed_recording_is_not_believed(tmp_path: Path) -> None:
    path = sealed(tmp_path)
    whole = path.read_bytes()
    for at in (20, 60, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises((RecordingDamaged, TranscriptKeyError)):
            read_recording(path, lambda: KEY)
    path.write_bytes(whole[: len(whole) - 40])
    assert not read_recording(path, lambda: KEY).complete
    path.write_bytes(whole[:20])
    with pytest.raises(RecordingDamaged, match="no encrypted recording"):
        read_recording(path, lambda: KEY)


def test_segments_cannot_be_taken_out(tmp_path: Path) -> None:
    path = sealed(tmp_path)
    whole = path.read_bytes()
    head = len(b"ANTIPHON\x01") + 8 + 32
    first = int.from_bytes(whole[head : head + 4], "big") + 5
    path.write_bytes(whole[:head] + whole[head + first :])
    with pytest.raises(RecordingDamaged, match="segment 0"):
        read_recording(path, lambda: KEY)


def test_another_key_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(TranscriptKeyError, match="encrypted with another key"):
        read_recording(sealed(tmp_path), lambda: RecordingKey(bytes(32)))


def test_keys_come_from_a_file_or_the_environment_and_are_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = os.urandom(32)
    text = base64.b64encode(key).decode()
    (tmp_path / "key").write_text(text + "\n")
    (tmp_path / "urlsafe").write_text(base64.urlsafe_b64encode(key).decode())
    (tmp_path / "short").write_text(base64.b64encode(key[:16]).decode())
    loaded = RecordingKey.load(tmp_path / "key")
    assert loaded.id == RecordingKey.load(tmp_path / "urlsafe").id
    monkeypatch.setenv(KEY_VARIABLE, text)
    assert RecordingKey.load().id == loaded.id
    assert text not in repr(loaded) and key.hex() not in repr(loaded)
    with pytest.raises(TranscriptKeyError, match="no key of 32 bytes") as raised:
        RecordingKey.load(tmp_path / "short")
    assert base64.b64encode(key[:16]).decode() not in str(raised.value)
    monkeypatch.delenv(KEY_VARIABLE)
    with pytest.raises(TranscriptKeyError, match="there is no key"):
        RecordingKey.load()
    with pytest.raises(TranscriptKeyError, match="cannot be read"):
        RecordingKey.load(tmp_path / "nowhere")


def test_what_is_no_recording_is_named(tmp_path: Path) -> None:
    (tmp_path / "noise.flac").write_bytes(b"nothing to hear")
    with pytest.raises(RecordingDamaged, match=r"noise\.flac"):
        read_recording(tmp_path / "noise.flac", no_key)
    with pytest.raises(RecordingDamaged, match="gone"):
        read_recording(tmp_path / "nowhere.flac", no_key)


def test_every_player_plays_a_plain_recording(tmp_path: Path) -> None:
    async def main() -> None:
        recording = start_recording(tmp_path, "sess_a", 24000)
        feed(recording, 1.5)
        await recording.aclose()

    asyncio.run(main())
    info = soundfile.info(tmp_path / "sess_a.flac")
    assert (info.format, info.subtype, info.channels, info.samplerate) == ("FLAC", "PCM_16", 2, 24000)
