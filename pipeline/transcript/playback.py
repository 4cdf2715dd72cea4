"""A recording as PCM, from any place in it: for players that ask for a part at a time. Blocking.

Reads plain and encrypted files, whole ones and those whose process died, and never holds more than a segment of one.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.pipeline.transcript.errors import RecordingDamaged
from antiphon.pipeline.transcript.sealed import RecordingKey, SealedReader, is_sealed

CHANNELS = 2
FRAME_BYTES = 2 * CHANNELS
"""Of PCM16, left the user, right the assistant."""
_READ_FRAMES = 24_000
_UNKNOWN_FRAMES = 1 << 62
"""A length that libsndfile reports when the header has none: the file was never closed."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A segment of an encrypted file."""

    place: int
    first: int
    """Its first frame."""
    frames: int


@dataclass(frozen=True, slots=True)
class Playback:
    """A recording that was looked through. Make it with :func:`open_playback`."""

    path: Path
    rate_hz: int
    frames: int
    key: RecordingKey | None = None
    parts: tuple[_Part, ...] = ()

    @property
    def duration_s(self) -> float:
        return self.frames / self.rate_hz

    def pcm(self, first: int, count: int) -> Generator[bytes]:
        """`count` frames from `first` on, as interleaved little-endian PCM16, a second or two at a time.

        :raises RecordingDamaged: the file is gone, or was changed since it was looked through.
        """
        end = min(first + count, self.frames)
        try:
            yield from self._sealed(first, end) if self.key is not None else self._plain(first, end)
        except OSError as error:
            raise RecordingDamaged(f"{self.path}: the recording cannot be read: {error}") from error

    def _plain(self, first: int, end: int) -> Iterator[bytes]:
        import soundfile

        try:
            with soundfile.SoundFile(self.path) as file:
                if file.frames < _UNKNOWN_FRAMES:
                    file.seek(first)
                else:  # a file that was never closed cannot be sought in
                    _skip(file, first)
                while first < end:
                    block = file.read(min(_READ_FRAMES, end - first), dtype="int16", always_2d=True)
                    if not len(block):
                        raise RecordingDamaged(f"{self.path}: shorter than it was")
                    first += len(block)
                    yield block.astype("<i2").tobytes()
        except soundfile.LibsndfileError as error:
            raise RecordingDamaged(f"{self.path}: the recording cannot be read: {error}") from error

    def _sealed(self, first: int, end: int) -> Iterator[bytes]:
        assert self.key is not None
        with self.path.open("rb") as file:
            reader = SealedReader(file, self.key, str(self.path))
            for number, part in enumerate(self.parts):
                if part.first + part.frames <= first or part.first >= end or not part.frames:
                    continue
                block = _decoded(reader.segment(number, part.place))[0]
                yield block[max(0, first - part.first) : end - part.first].astype("<i2").tobytes()


def open_playback(path: Path, key: Callable[[], RecordingKey]) -> Playback:
    """Look through a recording.

    :param key: asked for only if it is encrypted.
    :raises RecordingDamaged: there is no such file, or it is no recording.
    :raises TranscriptKeyError: there is no key, or it is another one.
    """
    import soundfile

    try:
        return _open_sealed(path, key()) if is_sealed(path) else _open_plain(path)
    except FileNotFoundError:
        raise RecordingDamaged(f"{path}: the recording is gone") from None
    except (OSError, soundfile.LibsndfileError) as error:
        raise RecordingDamaged(f"{path}: the recording cannot be read: {error}") from error


def _open_plain(path: Path) -> Playback:
    import soundfile

    with soundfile.SoundFile(path) as file:
        if file.channels != CHANNELS:
            raise RecordingDamaged(f"{path}: {file.channels} channels are no recording")
        frames = file.frames if file.frames < _UNKNOWN_FRAMES else _skip(file, _UNKNOWN_FRAMES)
        return Playback(path, file.samplerate, frames)


def _skip(file: Any, frames: int) -> int:
    """Read on; returns how many frames there were. Of a file that was cut off, what is whole counts."""
    import soundfile

    read = 0
    with contextlib.suppress(soundfile.LibsndfileError):
        while read < frames and len(block := file.read(min(_SMALL, frames - read), dtype="int16", always_2d=True)):
            read += len(block)
    return read


_SMALL = 1024
"""Frames read at a time of a file that was cut off: so much less than one read may be lost."""


def _open_sealed(path: Path, key: RecordingKey) -> Playback:
    parts: list[_Part] = []
    frames, rate_hz = 0, 24_000
    with path.open("rb") as file:
        reader = SealedReader(file, key, str(path))
        place = reader.place
        for data in reader:
            own = 0
            if data:
                block, rate_hz = _decoded(data)
                own = len(block)
            parts.append(_Part(place, frames, own))
            frames += own
            place = reader.place
    return Playback(path, rate_hz, frames, key, tuple(parts))


def _decoded(segment: bytes) -> tuple[Any, int]:
    import soundfile

    block, rate_hz = soundfile.read(io.BytesIO(segment), dtype="int16", always_2d=True)
    return block, int(rate_hz)
