"""Word and character errors: both texts brought to one form by Whisper's normalisers, then aligned.

English has a normaliser of its own (numbers, spellings, contractions); other languages get the basic one, which only
takes case, punctuation and marks away. Languages written without spaces are compared letter by letter, as in Whisper's
own evaluation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from antiphon.engines.errors import EngineUnavailable

_WITHOUT_SPACES = frozenset({"zh", "yue", "ja", "th", "lo", "my"})


@dataclass(frozen=True, slots=True)
class Errors:
    """How one text differs from its reference."""

    words: int
    """Of the reference."""
    word_errors: int
    characters: int
    character_errors: int
    lost_at_start: int = 0
    """Words of the reference that are missing before the first word that was understood."""
    lost_at_end: int = 0


@functools.cache
def normaliser(language: str) -> Callable[[str], str]:
    """:raises EngineUnavailable: whisper-normalizer is missing."""
    try:
        from whisper_normalizer.basic import BasicTextNormalizer
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError as error:
        raise _missing("whisper-normalizer") from error
    normalise: Any = EnglishTextNormalizer()
    if language != "en":
        normalise = BasicTextNormalizer(split_letters=language in _WITHOUT_SPACES)
    return lambda text: " ".join(normalise(text).split())


def prepare(languages: Iterable[str]) -> None:
    """Load what :func:`compare` needs (some of it takes a while), or find out that it is missing.

    :raises EngineUnavailable: a package is missing.
    """
    for language in sorted(set(languages)):
        compare("one", "one", language)


def compare(reference: str, heard: str, language: str) -> Errors | None:
    """The errors; None where the reference has no words."""
    try:
        import jiwer
    except ImportError as error:
        raise _missing("jiwer") from error
    normalise = normaliser(language)
    wanted, got = normalise(reference), normalise(heard)
    if not any(character.isalnum() for character in wanted):
        return None
    words: Any = jiwer.process_words(wanted, got)
    characters: Any = jiwer.process_characters(wanted, got)
    count = len(wanted.split())
    chunks = [chunk for chunk in words.alignments[0] if chunk.type != "insert"]
    first, last = (chunks[0], chunks[-1]) if chunks else (None, None)
    return Errors(
        words=count,
        word_errors=words.substitutions + words.deletions + words.insertions,
        characters=len(wanted),
        character_errors=characters.substitutions + characters.deletions + characters.insertions,
        lost_at_start=_length(first) if first is not None and first.type == "delete" else 0,
        lost_at_end=_length(last) if last is not None and last.type == "delete" else 0,
    )


def _length(chunk: Any) -> int:
    return int(chunk.ref_end_idx - chunk.ref_start_idx)


def _missing(package: str) -> EngineUnavailable:
    return EngineUnavailable(f"counting word errors needs the package {package}", hint='pip install "antiphon[bench]"')
