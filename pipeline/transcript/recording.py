"""Records a session's audio: stereo FLAC, left the user, right the assistant, sample by sample on the stream clock.

:class:`RecordedTransport` stands between a session and its transport and hears both sides. Encoding and writing happen
on a thread of the recording's own, a second or two at a time, so a process that is killed loses no more than that.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import os
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from antiphon.engines.audio import AudioFrame, to_pcm16
from antiphon.pipeline.transcript.errors import RecordingDamaged, TranscriptError
from antiphon.pipeline.transcript.sealed import RecordingKey, SealedReader, SealedWriter, is_sealed
from antiphon.pipeline.transcript.timeline import Timeline
from antiphon.pipeline.transports.base import Transport, TransportCapabilities

logger = logging.getLogger(__name__)

Stereo = NDArray[np.float32]
"""Shape (n, 2)."""

_BLOCK_S = 1.0
"""So much is written at a time."""
_SEGMENT_S = 2.0
"""Of an encrypted recording: each segment can be read by itself."""
_MAX_WAITING = 60
"""Blocks that may wait for a slow disk."""
_READ_FRAMES = 1024
"""At a time: of a file that was cut off, so much less than one read may be lost."""
_UNKNOWN_FRAMES = 1 << 62
"""A length that libsndfile reports when the header has none: the file was never closed."""
_STALL_S = 0.5
"""Input that is later than this by the clock has stalled, and its stream clock with it."""


class RecordingError(TranscriptError):
    """Raised when a recording cannot be written."""


class Sink(Protocol):
    """Takes audio block by block, on one thread."""

    def write(self, block: Stereo) -> None: ...

    def close(self) -> None: ...


class FlacSink:
    """A plain FLAC file, which every player plays."""

    def __init__(self, path: Path, rate_hz: int) -> None:
        import soundfile

        self._file = soundfile.SoundFile(path, "w", rate_hz, 2, "PCM_16", format="FLAC")

    def write(self, block: Stereo) -> None:
        self._file.write(to_pcm16(block))

    def close(self) -> None:
        self._file.close()


class SealedSink:
    """Encrypted; each segment is a FLAC stream of its own."""

    def __init__(self, path: Path, rate_hz: int, key: RecordingKey) -> None:
        self._rate_hz = rate_hz
        self._file: IO[bytes] = path.open("wb")
        try:
            self._sealed = SealedWriter(self._file, key)
        except BaseException:
            self._file.close()
            raise
        self._blocks: list[Stereo] = []

    def write(self, block: Stereo) -> None:
        self._blocks.append(block)
        if sum(len(one) for one in self._blocks) >= _SEGMENT_S * self._rate_hz:
            self._sealed.write(self._segment())

    def close(self) -> None:
        with self._file:
            self._sealed.write(self._segment(), last=True)

    def _segment(self) -> bytes:
        import soundfile

        samples = np.concatenate([np.empty((0, 2), dtype=np.float32), *self._blocks])
        self._blocks = []
        if not len(samples):
            return b""
        buffer = io.BytesIO()
        soundfile.write(buffer, to_pcm16(samples), self._rate_hz, "PCM_16", format="FLAC")
        return buffer.getvalue()


class Recording:
    """One session's recording. Make it with :func:`start_recording`; feed it on the event loop; close it."""

    def __init__(
        self, sink: Callable[[], Sink], file: str, rate_hz: int, *, on_failure: Callable[[str], None] | None = None
    ) -> None:
        """
        :param sink: makes the sink, on the recording's thread.
        :param on_failure: told once, in a sentence, if the recording cannot go on; the conversation can.
        """
        self.file = file
        """Relative to the folder of recordings."""
        self.timeline = Timeline(rate_hz)
        self._on_failure = on_failure or (lambda why: None)
        self._thread = ThreadPoolExecutor(1, "antiphon-recording")
        self._opening: Future[Sink] = self._thread.submit(sink)
        self._writing: list[Future[None]] = []
        self._failed = False
        self._closed = False

    @property
    def duration_s(self) -> float:
        return self.timeline.taken / self.timeline.rate_hz

    def hear(self, frame: AudioFrame) -> None:
        self.timeline.hear(frame)
        if self.timeline.now - self.timeline.taken >= _BLOCK_S * self.timeline.rate_hz:
            self._hand_over(self.timeline.take())

    async def aclose(self) -> bool:
        """Write the rest. Returns whether all of the conversation is in the file."""
        if self._closed:
            return not self._failed
        self._closed = True
        self._hand_over(self.timeline.take(all_of_it=True))
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._finish)
        self._check()
        return not self._failed

    # ------------------------------------------------------------------------ inside

    def _hand_over(self, block: Stereo) -> None:
        self._check()
        if self._failed or not len(block):
            return
        if len(self._writing) >= _MAX_WAITING:
            self._fail("the disk is too slow")
            return
        self._writing.append(self._thread.submit(self._write, block))

    def _write(self, block: Stereo) -> None:
        self._opening.result().write(block)

    def _finish(self) -> None:
        self._writing.append(self._thread.submit(lambda: self._opening.result().close()))
        self._thread.shutdown(wait=True)

    def _check(self) -> None:
        for future in [future for future in self._writing if future.done()]:
            self._writing.remove(future)
            error = future.exception()
            if error is not None:
                self._fail(str(error).splitlines()[0] if str(error) else type(error).__name__)

    def _fail(self, why: str) -> None:
        if not self._failed:
            self._failed = True
            logger.warning("the audio is not recorded any more", extra={"file": self.file, "reason": why})
            self._on_failure(why)


def start_recording(
    folder: Path,
    session: str,
    rate_hz: int,
    *,
    key: RecordingKey | None = None,
    on_failure: Callable[[str], None] | None = None,
) -> Recording:
    """Begin a recording in a folder.

    :param rate_hz: of the recording: that of the output, so that nothing is lost.
    :param key: encrypts it; None: a plain FLAC file.
    :raises RecordingError: the folder cannot be made or written.
    """
    name = file_name(session, sealed=key is not None)
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError as error:
        raise RecordingError(f"{path}: there is a recording of this session already") from error
    except OSError as error:
        raise RecordingError(f"{path}: cannot be written: {error.strerror}", hint="give another folder") from error

    def sink() -> Sink:
        return FlacSink(path, rate_hz) if key is None else SealedSink(path, rate_hz, key)

    return Recording(sink, name, rate_hz, on_failure=on_failure)


def file_name(session: str, *, sealed: bool) -> str:
    """A file's name for a session; an id that could not be one is told by its hash."""
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,120}", session)
    stem = session if plain else hashlib.sha256(session.encode()).hexdigest()[:32]
    return f"{stem}.flac{'.sealed' if sealed else ''}"


class RecordedTransport:
    """A transport that passes everything on to another one, and records it."""

    def __init__(self, inner: Transport, recording: Recording) -> None:
        self._inner = inner
        self._recording = recording
        self._offset_s: float | None = None
        """Loop time less stream time."""
        self._clears = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def capabilities(self) -> TransportCapabilities:
        return self._inner.capabilities

    async def frames(self) -> AsyncIterator[AudioFrame]:
        loop = asyncio.get_running_loop()
        async for frame in self._inner.frames():
            offset_s = loop.time() - frame.end_s
            if self._offset_s is None or offset_s < self._offset_s or offset_s > self._offset_s + _STALL_S:
                self._offset_s = offset_s  # frames come late, never early: the earliest tells
            self._recording.hear(frame)
            yield frame

    async def play(self, frame: AudioFrame, mark: int) -> float:
        loop = asyncio.get_running_loop()
        asked_s, clears = loop.time(), self._clears
        start_s = await self._inner.play(frame, mark)
        if clears != self._clears:
            return start_s  # taken back while it waited for its place: nobody will hear it
        if self.capabilities.paced:
            self._recording.timeline.play(frame, self._stream_s(start_s))
        else:  # time is the stream clock alone: a reply begins where the input is, or where the last one ends
            at = self._recording.timeline.now / self._recording.timeline.rate_hz
            self._recording.timeline.play(frame, at + max(0.0, start_s - asked_s))
        return start_s

    async def drain(self) -> None:
        await self._inner.drain()

    def clear(self) -> None:
        self._clears += 1
        self._recording.timeline.clear(self._now_s())
        self._inner.clear()

    def pause(self) -> None:
        self._recording.timeline.pause(self._now_s())
        self._inner.pause()

    def resume(self) -> None:
        self._recording.timeline.resume(self._now_s())
        self._inner.resume()

    def _now_s(self) -> float | None:
        return self._stream_s(asyncio.get_running_loop().time()) if self.capabilities.paced else None

    def _stream_s(self, loop_s: float) -> float:
        return 0.0 if self._offset_s is None else loop_s - self._offset_s


@dataclass(frozen=True, slots=True, eq=False)
class RecordedAudio:
    """A recording as it was read."""

    samples: Stereo
    """Left the user, right the assistant; sample 0 is 0 s of the stream clock."""
    rate_hz: int
    complete: bool
    """False: the process died while it recorded; the last seconds may be missing."""


def read_recording(path: Path, key: Callable[[], RecordingKey]) -> RecordedAudio:
    """
    :param key: asked for only if the recording is encrypted.
    :raises RecordingDamaged: there is no such file, or it is no recording.
    :raises TranscriptKeyError: there is no key, or it is another one.
    """
    import soundfile

    try:
        if is_sealed(path):
            return _read_sealed(path, key())
        return _read_plain(path)
    except FileNotFoundError:
        raise RecordingDamaged(f"{path}: the recording is gone") from None
    except (OSError, soundfile.LibsndfileError) as error:
        raise RecordingDamaged(f"{path}: the recording cannot be read: {error}") from error


def _read_plain(path: Path) -> RecordedAudio:
    import soundfile

    blocks: list[Any] = [np.empty((0, 2), dtype=np.float32)]
    with soundfile.SoundFile(path) as file:
        if file.channels != 2:
            raise RecordingDamaged(
                f"{path}: {file.channels} channels are no recording: the user and the assistant are two"
            )
        finished = file.frames < _UNKNOWN_FRAMES
        try:
            while len(block := file.read(_READ_FRAMES, dtype="float32", always_2d=True)):
                blocks.append(block)
        except soundfile.LibsndfileError:
            if finished:
                raise
            # The process died while it wrote: what it had written whole was read.
        return RecordedAudio(np.concatenate(blocks), file.samplerate, finished)


def _read_sealed(path: Path, key: RecordingKey) -> RecordedAudio:
    import soundfile

    blocks: list[Any] = [np.empty((0, 2), dtype=np.float32)]
    rate_hz = 0
    with path.open("rb") as file:
        reader = SealedReader(file, key, str(path))
        for segment in reader:
            if segment:
                block, rate_hz = soundfile.read(io.BytesIO(segment), dtype="float32", always_2d=True)
                blocks.append(block)
    return RecordedAudio(np.concatenate(blocks), rate_hz or 24000, reader.complete)
