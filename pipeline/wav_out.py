"""Writes WAV files: 16-bit PCM, complete or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from antiphon.pipeline.errors import AudioInputError


def write_wav(path: Path, samples: NDArray[np.float32], rate_hz: int) -> None:
    """Write float32 samples, shape (n,) or (n, channels), to `path`, by way of a temporary file beside it.

    :raises AudioInputError: the file cannot be written.
    """
    import soundfile

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        os.close(handle)
        try:
            soundfile.write(temporary, np.clip(samples, -1.0, 1.0), rate_hz, format="WAV", subtype="PCM_16")
            umask = os.umask(0)
            os.umask(umask)
            Path(temporary).chmod(0o666 & ~umask)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise AudioInputError(f"{path}: cannot be written: {error}", hint="give another path") from error
