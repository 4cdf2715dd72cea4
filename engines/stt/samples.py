"""The check that every STT engine makes of audio before it looks at it."""

from __future__ import annotations

from antiphon.engines.audio import AudioFrame, Samples, to_mono_float32
from antiphon.engines.errors import EngineRequestInvalid


def checked_samples(audio: AudioFrame, *, engine: str) -> Samples:
    """The audio's samples as float32 mono in [-1, 1], shape (n,).

    :raises EngineRequestInvalid: a rate or a sample type that no audio has.
    """
    if audio.rate_hz <= 0:
        raise EngineRequestInvalid(f"audio at {audio.rate_hz} Hz is no audio", stage="stt", engine=engine)
    try:
        return to_mono_float32(audio.samples)
    except ValueError as error:
        raise EngineRequestInvalid(str(error), stage="stt", engine=engine) from error
