"""The library of this machine's microphone and speaker: PortAudio, by `sounddevice`."""

from __future__ import annotations

from typing import Any

from antiphon.engines.errors import EngineUnavailable


def load_sounddevice(what: str, instead: str) -> Any:
    """The module `sounddevice`.

    :param what: what it is wanted for, for the message: "talking", "playing".
    :param instead: what can be done without it, for the hint.
    :raises EngineUnavailable: it is not installed, or its library is not on this machine.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise EngineUnavailable(
            f"{what} needs the package sounddevice", hint=f'pip install "antiphon[mic]"; {instead}'
        ) from error
    except OSError as error:
        raise EngineUnavailable(
            f"{what} needs the library PortAudio ({error})", hint=f"on Debian: apt install libportaudio2; {instead}"
        ) from error
    return sounddevice
