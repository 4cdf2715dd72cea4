"""Recordings as WAV files that a browser can play from any place (RFC 9110, 14: one range of bytes)."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from starlette.responses import Response, StreamingResponse

from antiphon.pipeline.transcript import RecordingDamaged, RecordingKey
from antiphon.pipeline.transcript.playback import CHANNELS, FRAME_BYTES, Playback, open_playback

logger = logging.getLogger(__name__)

_HEADER_BYTES = 44
_MAX_DATA = 0xFFFFFFFF - _HEADER_BYTES
"""What the length in a WAV header can hold: 12 hours at 24 kHz."""
_SILENCE = 64 << 10
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def wav_header(playback: Playback) -> bytes:
    """Of a recording as PCM16 in stereo."""
    size = _data_bytes(playback)
    rate = playback.rate_hz
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, CHANNELS, rate, rate * FRAME_BYTES, FRAME_BYTES, 16)
    return struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + form + struct.pack("<4sI", b"data", size)


def _data_bytes(playback: Playback) -> int:
    return min(playback.frames * FRAME_BYTES, _MAX_DATA // FRAME_BYTES * FRAME_BYTES)


def wav_response(playback: Playback, asked: str | None) -> Response:
    """The whole file, or the part that the header `Range` asks for.

    :param asked: that header. One that is not understood is left out of account, one that cannot be met is a 416.
    """
    size = _HEADER_BYTES + _data_bytes(playback)
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "private, no-store", "Content-Type": "audio/wav"}
    span = _span(asked, size)
    if span is None:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    first, last = span
    headers["Content-Length"] = str(last - first + 1)
    if asked is not None and _RANGE.fullmatch(asked.strip()):
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        return StreamingResponse(_bytes(playback, first, last + 1), 206, headers)
    return StreamingResponse(_bytes(playback, first, last + 1), 200, headers)


def _span(asked: str | None, size: int) -> tuple[int, int] | None:
    """The first and the last byte that are wanted; None: there are no such bytes."""
    match = _RANGE.fullmatch((asked or "").strip())
    if match is None or match[0] == "bytes=-":
        return 0, size - 1
    if not match[1]:  # the last so many
        wanted = min(int(match[2]), size)
        return (size - wanted, size - 1) if wanted else None
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    return (first, last) if first < size and first <= last else None


async def _bytes(playback: Playback, start: int, end: int) -> AsyncIterator[bytes]:
    """The file's bytes from `start` to `end`, read in threads, a second or two of audio at a time."""
    header = wav_header(playback)
    if start < len(header):
        yield header[start:end]
    first = max(0, start - len(header)) // FRAME_BYTES
    last = -(-(end - len(header)) // FRAME_BYTES)
    place = len(header) + first * FRAME_BYTES
    pieces = playback.pcm(first, max(0, last - first))
    try:
        while (piece := await asyncio.to_thread(next, pieces, b"")) and place < end:
            cut = piece[max(0, start - place) : end - place]
            place += len(piece)
            if cut:
                yield cut
    except RecordingDamaged as error:  # the length was promised: what cannot be read is silence
        logger.warning("a recording cannot be read to its end", extra={"reason": error.message})
    finally:
        await asyncio.to_thread(pieces.close)
    for at in range(max(place, start), end, _SILENCE):
        yield bytes(min(_SILENCE, end - at))


class Recordings:
    """Recordings that were looked through lately: a player asks for many parts of one file."""

    def __init__(self, keep: int = 16) -> None:
        self._keep = keep
        self._known: OrderedDict[tuple[Path, int, int], Playback] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, path: Path, key: Callable[[], RecordingKey]) -> Playback:
        """Blocking.

        :raises RecordingDamaged: it cannot be read.
        :raises TranscriptKeyError: the key is not there.
        """
        try:
            about = path.stat()
        except OSError:
            return open_playback(path, key)  # which says what is wrong
        name = (path, about.st_size, about.st_mtime_ns)
        with self._lock:
            known = self._known.get(name)
        if known is None:
            known = open_playback(path, key)
        with self._lock:
            self._known[name] = known
            self._known.move_to_end(name)
            while len(self._known) > self._keep:
                self._known.popitem(last=False)
        return known


class Tickets:
    """Leave to hear one recording for a while: a browser's player asks by address alone, and can show no key."""

    def __init__(self, *, lasts_s: float = 900.0, keep: int = 500, clock: Callable[[], float] = time.monotonic) -> None:
        self._lasts_s = lasts_s
        self._keep = keep
        self._clock = clock
        self._given: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def give(self, session: str) -> str:
        """A new one, which nobody can guess."""
        ticket = secrets.token_urlsafe(24)
        self._given[ticket] = (session, self._clock() + self._lasts_s)
        while len(self._given) > self._keep:
            self._given.popitem(last=False)
        return ticket

    def session(self, ticket: str) -> str | None:
        """Whose recording it is for; None: it was never given, or is over."""
        session, until_s = self._given.get(ticket, ("", 0.0))
        if self._clock() >= until_s:
            self._given.pop(ticket, None)
            return None
        return session
