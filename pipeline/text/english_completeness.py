"""English: from the words of an open turn to a reason why it looks finished or not. Ordered rules over closed classes.

First how the turn ends (`english_cue_ends`: fillers, conjunctions, determiners, prepositions, auxiliaries, verbs
without their object), then how it is built (`english_cue_clauses`: introductions, clauses, lists, questions, commands,
sentences, short answers). The first rule with an opinion decides; the reasons are those of `completeness.REASONS`.
"""

from __future__ import annotations

import re

from antiphon.pipeline.text import english_cue_words as w
from antiphon.pipeline.text.english_cue_clauses import clause_cue
from antiphon.pipeline.text.english_cue_ends import Said, end_cue

_WORD = re.compile(r"[^\W_](?:[^\W_]|['.:,@](?=[^\W_]))*")
_MOST_WORDS = 40
"""Of one sentence: what stands before says little of its end, and the cost stays bounded."""
_SENTENCE_GAP = re.compile(r"[.!?]\s+(?=\S)")


def english_cue(text: str) -> str | None:
    """Why an English turn looks finished or not, a key of `completeness.REASONS`; None: no rule has an opinion.

    :param text: white space already single.
    """
    said = _take_apart(text)
    if said is None:
        return None
    if said.alone and said.phrase in w.ECHO_ANSWERS:
        return "ambiguous_end"
    if said.alone and w.WHOLE_TURN.match(said.phrase):
        return "set_phrase"
    kept = _without_trailers(said)
    return end_cue(kept) or clause_cue(kept.words, kept.commas, kept.alone)


def _take_apart(text: str) -> Said | None:
    """The last sentence with words in it."""
    low = text.replace("’", "'").casefold()
    sentences = [part for part in _SENTENCE_GAP.split(low) if any(map(str.isalnum, part))]
    if not sentences:
        return None
    words: list[str] = []
    commas: set[int] = set()
    last = sentences[-1]
    for found in list(_WORD.finditer(last))[-_MOST_WORDS:]:
        words.append(found.group())
        if last[found.end() : found.end() + 1] in (",", ";", ":"):
            commas.add(len(words) - 1)
    return Said(tuple(words), frozenset(commas), len(sentences) == 1) if words else None


def _without_trailers(said: Said) -> Said:
    """Without "please", "thank you", "if you can" at the end; never without all words."""
    words = said.words
    shorter = True
    while shorter:
        shorter = False
        for trailer in w.TRAILERS:
            if len(words) > len(trailer) and words[-len(trailer) :] == trailer:
                words, shorter = words[: -len(trailer)], True
                break
    if words == said.words or words[-1] in ("and", "so", "but", "what", "as", "who", "do", "when"):
        return said  # "and please", "so I think": the words that look like a trailer begin something
    return Said(words, frozenset(at for at in said.commas if at < len(words) - 1), said.alone)
