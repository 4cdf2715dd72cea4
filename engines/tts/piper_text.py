"""From text to phoneme ids, with the way back: which word of the text each id belongs to."""

from __future__ import annotations

import functools
import logging
import re
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from antiphon.engines.errors import EngineLoadFailed
from antiphon.engines.tts.piper_voice import ENGINE, VoiceConfig
from antiphon.engines.tts.piper_words import align

log = logging.getLogger(__name__)

PAD, BOS, EOS = "_", "^", "$"
MAX_PIECE_CHARS = 240
"""A sentence longer than this is spoken in parts, so that memory and the wait for a first sound stay bounded."""
MAX_UTTERANCE_PHONEMES = 480
"""The same bound for text that is short in letters and long in sounds (a number of 200 digits)."""

_PAUSES = frozenset(".,:;?!")
_LANGUAGE_FLAG = re.compile(r"\([^)]*\)")
_ABBREVIATION = re.compile(r"\b(Dr|Mr|Mrs|Ms|Prof|St)\.(?=\s+[A-Z])")
_SENTENCE_END = re.compile(r"(?:[.!?…]+[\"'”’»)\]]*\s+(?![a-zß-öø-ÿ])|[。！？]+[」』”’）]*\s*|\n\s*)")
_CLAUSE_END = re.compile(r"[,;:，；：、—–]+[\"'”’»)\]]*\s*")
# Ideographs and kana are written without spaces: each is a word of its own here.
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\s\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)

_espeak_lock = threading.Lock()  # espeak-ng keeps its voice in global state


@functools.cache
def _espeak() -> Any:
    """espeak-ng, pointed at its data. Once only: begun anew between two voices, it speaks garbage now and then."""
    from piper import espeakbridge
    from piper.phonemize_espeak import EspeakPhonemizer

    EspeakPhonemizer()
    return espeakbridge


@dataclass(frozen=True, slots=True)
class WordIds:
    """A word of the text and the ids [id_start, id_end) that speak it."""

    text: str
    char_start: int
    char_end: int
    id_start: int
    id_end: int


@dataclass(frozen=True, slots=True)
class Utterance:
    """What is sent through the network in one go: a sentence, as a rule."""

    ids: tuple[int, ...]
    words: tuple[WordIds, ...]
    char_start: int
    char_end: int
    """The part of the text asked for that it stands for."""


def clean(text: str, espeak_voice: str = "") -> str:
    """Text of the same length without what espeak-ng cannot take: controls, NUL, lone surrogates become spaces."""
    safe = "".join(
        " " if char != "\n" and unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn") else char for char in text
    )
    if espeak_voice.startswith("en"):  # it ends a sentence at the dot of "Dr. Smith", and reads "Dr Smith" well
        safe = _ABBREVIATION.sub(r"\1 ", safe)
    return safe


def next_piece(text: str, start: int) -> tuple[int, int] | None:
    """The next piece [start, end) to phonemise at once: a sentence, or a part of a long one. None at the end."""
    while start < len(text) and text[start].isspace():
        start += 1
    if start >= len(text):
        return None
    limit = start + MAX_PIECE_CHARS
    for end in (match.end() for match in _SENTENCE_END.finditer(text, start, limit)):
        if any(char.isalnum() for char in text[start:end]):
            return start, end
    if len(text) <= limit:
        return start, len(text)
    for pattern in (_CLAUSE_END, re.compile(r"\s+")):
        ends = [match.end() for match in pattern.finditer(text, start + MAX_PIECE_CHARS // 4, limit)]
        if ends:
            return start, ends[-1]
    return start, limit


def word_spans(text: str, start: int = 0) -> Iterator[tuple[int, int]]:
    """Where the words are: runs without a space that have something to say, and single ideographs and kana."""
    for match in _WORD.finditer(text, start):
        if any(unicodedata.category(char)[0] not in "PZC" for char in match[0]):
            yield match.span()


def has_words(text: str, start: int) -> bool:
    """Whether anything is left to say from `start` on."""
    return next(word_spans(text, start), None) is not None


class Phonemizer:
    """Text to utterances for one voice. Thread-safe.

    :raises EngineLoadFailed: espeak-ng does not know the voice's language.
    """

    def __init__(self, voice: VoiceConfig) -> None:
        self._voice = voice
        self._missing: set[str] = set()
        self._clusters = sorted(voice.vowel_clusters, key=len, reverse=True)
        if voice.phoneme_type == "espeak":
            self._espeak("")

    def utterances(self, text: str, start: int, end: int) -> tuple[Utterance, ...]:
        """The utterances of the piece [start, end) of a text that :func:`clean` returned. Silent ones are left out."""
        piece = text[start:end]
        spans = list(word_spans(piece))
        sentences, spoken_words = self._phonemes(piece, [piece[a:b] for a, b in spans])
        owners = align(sentences, spoken_words)
        parts = [part for pair in zip(sentences, owners, strict=True) for part in _bounded(*pair)]
        made = [self._utterance(phonemes, owner, piece, spans, start) for phonemes, owner in parts]
        kept = [one for one in made if one is not None]
        return tuple(_tiled(kept, start, end))

    # ---------------------------------------------------------------------------- phonemes

    def _phonemes(self, piece: str, words: Sequence[str]) -> tuple[list[list[str]], list[list[str]]]:
        """The sentences of a piece, and each word as it is spoken alone."""
        if self._voice.phoneme_type == "text":
            return [list(unicodedata.normalize("NFD", piece))], [list(unicodedata.normalize("NFD", w)) for w in words]
        whole, *alone = self._espeak(piece, *words)
        return whole, [[symbol for sentence in one for symbol in (*sentence, " ")] for one in alone]

    def _espeak(self, *texts: str) -> list[list[list[str]]]:
        with _espeak_lock:
            espeak = _espeak()
            try:
                espeak.set_voice(self._voice.espeak_voice)
            except RuntimeError as error:
                raise EngineLoadFailed(
                    f"espeak-ng has no voice '{self._voice.espeak_voice}', which '{self._voice.name}' asks for",
                    stage="tts",
                    engine=ENGINE,
                    hint="the voice needs a newer piper-tts: pip install --upgrade piper-tts",
                ) from error
            clauses = [espeak.get_phonemes(text) for text in texts]
        return [self._sentences(one) for one in clauses]

    def _sentences(self, clauses: Sequence[tuple[str, str, bool]]) -> list[list[str]]:
        sentences: list[list[str]] = [[]]
        for phonemes, terminator, ends_sentence in clauses:
            symbols = list(unicodedata.normalize("NFD", _LANGUAGE_FLAG.sub("", phonemes)))
            current = sentences[-1]
            current.extend(self._clustered(symbols))
            if ends_sentence:
                current.extend(terminator)
                sentences.append([])
            else:  # espeak-ng names no mark for "..." inside a sentence: a pause all the same
                current.extend((terminator or ",", " "))
        return [sentence for sentence in sentences if sentence]

    def _clustered(self, symbols: list[str]) -> list[str]:
        if not self._clusters:
            return symbols
        out: list[str] = []
        position = 0
        while position < len(symbols):
            run = next((c for c in self._clusters if tuple(symbols[position : position + len(c)]) == c), None)
            out.append("".join(run) if run else symbols[position])
            position += len(run) if run else 1
        return out

    # --------------------------------------------------------------------------------- ids

    def _utterance(
        self,
        phonemes: Sequence[str],
        owners: Sequence[int | None],
        piece: str,
        spans: Sequence[tuple[int, int]],
        offset: int,
    ) -> Utterance | None:
        id_map = self._voice.id_map
        ids: list[int] = [*id_map[BOS], *id_map[PAD]]
        ranges: dict[int, list[int]] = {}
        for symbol, owner in zip(phonemes, owners, strict=True):
            known = id_map.get(symbol)
            if known is None:
                self._note_missing(symbol)
                continue
            begin = len(ids)
            ids.extend((*known, *id_map[PAD]))
            if owner is not None:
                ranges.setdefault(owner, [begin, begin])[1] = len(ids)
        if not ranges:
            return None
        ids.extend(id_map[EOS])
        words = tuple(
            WordIds(piece[spans[w][0] : spans[w][1]], offset + spans[w][0], offset + spans[w][1], first, last)
            for w, (first, last) in sorted(ranges.items())
        )
        return Utterance(tuple(ids), words, words[0].char_start, words[-1].char_end)

    def _note_missing(self, symbol: str) -> None:
        if symbol not in self._missing:
            self._missing.add(symbol)
            log.info("phoneme unknown to the voice, left out", extra={"voice": self._voice.name, "phoneme": symbol})


def _bounded(
    phonemes: Sequence[str], owners: Sequence[int | None]
) -> Iterator[tuple[Sequence[str], Sequence[int | None]]]:
    """A sentence in parts of bounded length, cut at a pause or between words where there is one."""
    start = 0
    while len(phonemes) - start > MAX_UTTERANCE_PHONEMES:
        window = phonemes[start : start + MAX_UTTERANCE_PHONEMES]
        pauses = [i + 1 for i, symbol in enumerate(window) if symbol in _PAUSES and i > len(window) // 4]
        spaces = [i + 1 for i, symbol in enumerate(window) if symbol == " " and i > len(window) // 4]
        stop = start + (pauses or spaces or [len(window)])[-1]
        yield phonemes[start:stop], owners[start:stop]
        start = stop
    yield phonemes[start:], owners[start:]


def _tiled(utterances: Sequence[Utterance], start: int, end: int) -> Iterator[Utterance]:
    """Let the utterances of a piece cover all its characters, without gap or overlap."""
    position = start
    for index, one in enumerate(utterances):
        following = utterances[index + 1].char_start if index + 1 < len(utterances) else end
        stop = max(position, following)
        yield Utterance(one.ids, one.words, position, stop)
        position = stop
