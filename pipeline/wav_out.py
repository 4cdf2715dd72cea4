"""Writes WAV files: 16-bit PCM, complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from antiphon.engines.audio import to_pcm16
from antiphon.engines.whole_file import whole_file
from antiphon.pipeline.errors import AudioInputError


@contextmanager
def new_wav(path: Path, rate_hz: int, channels: int = 1) -> Iterator[Callable[[NDArray[np.float32]], None]]:
    """A WAV file that appears under its name when the block ends well.

    Yields what takes float32 samples, shape (n,) or (n, channels), again and again.

    :raises AudioInputError: the file cannot be written.
    """
    import soundfile

    umask = os.umask(0)
    os.umask(umask)
    try:
        with (
            whole_file(path, mode=0o666 & ~umask) as temporary,
            soundfile.SoundFile(temporary, "w", rate_hz, channels, "PCM_16", format="WAV") as wav,
        ):
            yield lambda samples: wav.write(to_pcm16(samples))
    except (OSError, soundfile.LibsndfileError) as error:
        raise AudioInputError(f"{path}: cannot be written: {error}", hint="give another path") from error


def write_wav(path: Path, samples: NDArray[np.float32], rate_hz: int) -> None:
    """Write float32 samples, shape (n,) or (n, channels), to `path`.

    :raises AudioInputError: the file cannot be written.
    """
    with new_wav(path, rate_hz, 1 if samples.ndim == 1 else samples.shape[1]) as write:
        write(samples)
