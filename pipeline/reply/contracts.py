"""What a reply needs of those around it, and what it tells them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from antiphon.pipeline.errors import StageError


class Splitter(Protocol):
    """Cuts text as it comes into pieces to speak; the pieces join to exactly the text."""

    def push(self, delta: str) -> list[str]: ...

    def stall(self) -> list[str]:
        """The text has paused: what may be spoken already."""
        ...

    def hurry(self) -> list[str]:
        """The first piece takes long: what a listener can be given of it, if it can be parted from the rest."""
        ...

    def finish(self) -> list[str]: ...


Speakable = Callable[[str], str]
"""One piece of written text to what a voice should say; "" where there is nothing to say. Called in order."""


class BeforeCall(Protocol):
    """Called before each request to an engine; sets its ticket."""

    def __call__(self, *, foremost: bool = False) -> None:
        """:param foremost: nothing of the answer has been heard yet."""
        ...


class BeforeSound(Protocol):
    """Awaited with each piece of text before its audio is handed to the sink."""

    def __call__(self, text: str, *, filler: bool) -> Awaitable[None]:
        """:raises AntiphonError: it must not be."""
        ...


Emit = Callable[..., None]
"""emit(EventClass, **fields): fills in times and ids."""


@dataclass(slots=True)
class ReplyTimes:
    """When things happened, on the event loop's clock: wording notes the first two, synthesis and playback one each."""

    first_token_s: float | None = None
    first_clause_s: float | None = None
    first_audio_s: float | None = None
    audible_s: float | None = None


@dataclass(frozen=True, slots=True)
class ReplySettings:
    output_hz: int = 24000
    look_ahead: int = 2
    """How many pieces of text may wait for TTS, and how many synthesised chunks for the sink (times 16)."""
    stall_s: float = 0.25
    """The workflow has paused this long: speak what there is."""
    hurry_s: float = 0.06
    """So long after the first text, with no clause complete: speak the words that can stand alone. inf: never."""
    filler: str = ""
    """Said where the workflow keeps the user waiting; "" for nothing."""
    filler_after_s: float = math.inf
    """So long after the commit, with no text yet."""
    workflow_timeout_s: float = 20.0
    """Longest wait for the workflow's first text."""
    workflow_gap_s: float = 20.0
    """Longest pause between two of its pieces."""
    tts_timeout_s: float = 10.0
    """Until the first audio of a piece, and between two chunks."""


class TransportBroken(ExceptionGroup[Exception]):
    """Raised when the transport failed: nothing more can be heard, and the session ends. Holds what it raised."""

    def derive(self, excs: Sequence[Exception], /) -> TransportBroken:  # type: ignore[override]
        return TransportBroken(self.message, excs)


@contextlib.contextmanager
def ends_session() -> Iterator[None]:
    """Around what a transport does.

    :raises TransportBroken: it failed.
    """
    try:
        yield
    except StageError:
        raise  # of the caller's own code on the way to the sink
    except Exception as error:
        raise TransportBroken("the transport failed", [error]) from error
