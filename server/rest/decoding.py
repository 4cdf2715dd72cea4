"""Recordings as they come in: what libsndfile reads, and what browsers and phones record (WebM, MP4) by FFmpeg."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples
from antiphon.pipeline.audio_file import MAX_DURATION_S, read_audio_file
from antiphon.pipeline.errors import AudioInputError


def read_recording(path: Path, rate_hz: int, *, max_s: float = MAX_DURATION_S) -> AudioFrame:
    """Any recording, mono at `rate_hz`.

    :raises AudioInputError: it cannot be read as audio, or is longer than `max_s`.
    """
    try:
        return read_audio_file(path, rate_hz, max_s=max_s).frame
    except AudioInputError:
        with path.open("rb") as file:
            magic = file.read(12)
        if magic[:4] != b"\x1aE\xdf\xa3" and magic[4:8] != b"ftyp":  # Matroska and WebM; MP4 and its kin
            raise
    with contextlib.suppress(ModuleNotFoundError):
        return AudioFrame(_by_ffmpeg(path, rate_hz, max_s), rate_hz)
    raise AudioInputError(f"{path}: WebM and MP4 need the package av on the server; WAV, FLAC, OGG and MP3 work")


def _by_ffmpeg(path: Path, rate_hz: int, max_s: float) -> Samples:
    import av

    resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate_hz)
    pieces: list[Any] = []
    count = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise AudioInputError(f"{path}: there is no sound in it")
            for frame in container.decode(audio=0):
                for part in resampler.resample(frame):
                    pieces.append(part.to_ndarray()[0])
                    count += part.samples
                if count > max_s * rate_hz:
                    raise AudioInputError(f"{path}: the recording is longer than {max_s:g} s")
            pieces += [part.to_ndarray()[0] for part in resampler.resample(None)]
    except (av.FFmpegError, ValueError) as error:
        if not pieces:
            raise AudioInputError(f"{path}: this is no audio that can be read here ({error})") from error
    if not pieces:
        raise AudioInputError(f"{path}: the recording holds no samples")
    samples: Samples = np.concatenate(pieces, dtype=np.float32)
    return np.clip(samples, -1.0, 1.0, out=samples)
