"""The TTS cache's files: one for each synthesis, named by its key, written whole or not at all."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import threading
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from antiphon.engines.audio import AudioFrame
from antiphon.engines.protocols import SpeechChunk, Word
from antiphon.engines.whole_file import whole_file

log = logging.getLogger(__name__)

_NAME = re.compile(r"[0-9a-f]{64}\.speech\.npz")
_TEMPORARY = ".speech.tmp"
_ABANDONED_S = 3600.0


class DiskCache:
    """Syntheses in a folder, the least recently used removed first. Safe to share between threads and processes.

    A file that cannot be read back is removed; a disk that cannot be written costs the cache, never the speech.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._lock = threading.Lock()

    def get(self, key: str) -> tuple[SpeechChunk, ...] | None:
        """The chunks kept under a key, or None."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        try:
            chunks = decode(data, key)
        except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
            log.warning("damaged file removed from the TTS cache", extra={"file": path.name, "error": str(error)})
            self._remove(path)
            return None
        try:
            os.utime(path)
        except OSError as error:  # removed by another process meanwhile, or a read-only folder: the audio is at hand
            log.debug("TTS cache file not touched", extra={"file": path.name, "error": str(error)})
        return chunks

    def put(self, key: str, chunks: Sequence[SpeechChunk]) -> None:
        """Keep chunks under a key, and remove the oldest files beyond the cap."""
        data = encode(key, chunks)
        if len(data) > self._max_bytes:
            return
        with self._lock:
            try:
                with whole_file(self._path(key), suffix=_TEMPORARY, mode=0o600) as temporary:
                    temporary.write_bytes(data)
                self._sweep()
            except OSError as error:
                log.warning(
                    "TTS cache not written", extra={"directory": str(self._directory), "error": type(error).__name__}
                )

    # ---------------------------------------------------------------------------- inside

    def _path(self, key: str) -> Path:
        return self._directory / f"{key}.speech.npz"

    def _sweep(self) -> None:
        files: list[tuple[int, int, Path]] = []
        for path in self._directory.iterdir():
            try:
                status = path.stat()
            except OSError:
                continue  # another process swept it
            if _NAME.fullmatch(path.name):
                files.append((status.st_mtime_ns, status.st_size, path))
            elif path.name.endswith(_TEMPORARY) and time.time() - status.st_mtime > _ABANDONED_S:
                self._remove(path)
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._max_bytes:
                return
            self._remove(path)
            total -= size

    @staticmethod
    def _remove(path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("TTS cache file not removed", extra={"file": path.name, "error": type(error).__name__})


def encode(key: str, chunks: Sequence[SpeechChunk]) -> bytes:
    """Chunks as the bytes of an .npz file (a zip: each part has a checksum)."""
    facts = {
        "key": key,
        "chunks": [
            {
                "rate_hz": chunk.frame.rate_hz,
                "start_s": chunk.frame.start_s,
                "samples": len(chunk.frame.samples),
                "chars": [chunk.char_start, chunk.char_end],
                "words": None
                if chunk.words is None
                else [[word.text, word.start_s, word.end_s, word.probability] for word in chunk.words],
            }
            for chunk in chunks
        ],
    }
    samples = [np.zeros(0, dtype=np.float32), *(chunk.frame.samples for chunk in chunks)]
    out = io.BytesIO()
    written = np.frombuffer(json.dumps(facts).encode("ascii"), dtype=np.uint8)
    np.savez(out, facts=written, samples=np.concatenate(samples).astype(np.float32, copy=False))
    return out.getvalue()


def decode(data: bytes, key: str) -> tuple[SpeechChunk, ...]:
    """What :func:`encode` wrote.

    :raises ValueError: the bytes are damaged or of another key; so do KeyError, TypeError, OSError and BadZipFile.
    """
    with np.load(io.BytesIO(data), allow_pickle=False) as parts:
        facts = json.loads(parts["facts"].tobytes())
        samples = parts["samples"]
    if facts["key"] != key:
        raise ValueError("the file is of another key")
    if samples.dtype != np.float32 or sum(chunk["samples"] for chunk in facts["chunks"]) != len(samples):
        raise ValueError("the audio is not as long as its description")
    samples.flags.writeable = False
    chunks: list[SpeechChunk] = []
    position = 0
    for one in facts["chunks"]:
        frame = AudioFrame(samples[position : position + one["samples"]], int(one["rate_hz"]), float(one["start_s"]))
        position += one["samples"]
        words = None if one["words"] is None else tuple(Word(*word) for word in one["words"])
        chunks.append(SpeechChunk(frame, int(one["chars"][0]), int(one["chars"][1]), words))
    return tuple(chunks)
