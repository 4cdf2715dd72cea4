"""What goes to the Whisper runtime and comes back. Picklable: the runtime may live in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from antiphon.engines.protocols import Word
from antiphon.engines.stt.whisper_filter import FilterLimits
from antiphon.engines.stt.whisper_window import WindowPolicy


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a loaded model can do."""

    multilingual: bool
    languages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """How to decode one piece of audio."""

    policy: WindowPolicy
    limits: FilterLimits = field(default_factory=FilterLimits)
    language: str | None = None
    """None: detect it."""
    prompt: str = ""
    hotwords: str = ""
    prefix: str = ""
    """Text that the piece begins with."""
    word_times: bool = False
    max_tokens: int | None = None
    translate: bool = False
    """Into English."""
    draft: bool = False
    """One attempt, whatever comes of it."""
    strict: bool = False
    """The piece is part of a longer one that was rejected: believe only what is probable."""
    offset_s: float = 0.0
    """Added to word times."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What was heard in one piece of audio."""

    text: str = ""
    rejected_text: str = ""
    rejected_because: str = ""
    language: str | None = None
    language_probability: float | None = None
    no_speech: float | None = None
    logprob: float | None = None
    tokens: int = 0
    words: tuple[Word, ...] | None = None
    window_s: float = 0.0
    attempts: int = 0
    looped: bool = False
    """Some attempt looked like a loop, or was too doubtful to be taken at once."""
    duration_s: float = 0.0


def merge(pieces: Sequence[Piece]) -> Piece:
    """Pieces that follow one another, as one. Probabilities are weighted by the tokens or the time they speak of."""
    if len(pieces) == 1:
        return pieces[0]
    decoded = [piece for piece in pieces if piece.no_speech is not None]
    tokens = sum(piece.tokens for piece in decoded)
    time_s = sum(piece.duration_s for piece in decoded)
    heard = [piece for piece in pieces if piece.text]
    main = max(heard or pieces, key=lambda piece: piece.tokens, default=Piece())
    timed = any(piece.words is not None for piece in pieces)
    return Piece(
        text=" ".join(piece.text for piece in heard),
        rejected_text=" ".join(piece.rejected_text for piece in pieces if piece.rejected_text),
        rejected_because=next((piece.rejected_because for piece in pieces if piece.rejected_because), ""),
        language=main.language,
        language_probability=main.language_probability,
        no_speech=sum((p.no_speech or 0.0) * p.duration_s for p in decoded) / time_s if time_s else None,
        logprob=sum((p.logprob or 0.0) * p.tokens for p in decoded) / tokens if tokens else None,
        tokens=tokens,
        words=tuple(word for piece in heard for word in piece.words or ()) if timed else None,
        window_s=max((piece.window_s for piece in pieces), default=0.0),
        attempts=sum(piece.attempts for piece in pieces),
        looped=any(piece.looped for piece in pieces),
        duration_s=sum(piece.duration_s for piece in pieces),
    )
