"""Whether what was said so far looks finished: a cue for how long a pause must be before the turn is over. Pure.

Closed word classes and a few ordered rules, the standard library alone, well under a millisecond. Words are trusted
over punctuation and case, which a speech recogniser makes up at a pause: a full stop and an exclamation mark say
nothing; a comma, a dash and an ellipsis say that more is to come; a question mark says that it is not. English has
rules of its own (`english_completeness`); other known languages their closed classes; the rest punctuation alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from antiphon.engines.protocols import WordCue
from antiphon.pipeline.text.boundaries import language_code
from antiphon.pipeline.text.cue_words import CLOSED_WORDS, ClosedWords
from antiphon.pipeline.text.english_completeness import english_cue

CueKind = Literal["complete", "open", "unknown"]

_OPEN = (
    "trailing_comma trailing_colon trailing_dash ellipsis open_quote filler trailing_conjunction trailing_preposition "
    "trailing_determiner trailing_auxiliary trailing_contraction trailing_subject trailing_verb trailing_adverb "
    "trailing_adjective unfinished_number unfinished_address unfinished_clause unfinished_question unfinished_command "
    "introduction subordinate_clause enumeration"
)
_COMPLETE = "question_mark question command sentence short_answer set_phrase whole_number"
_UNKNOWN = "empty ambiguous_end ambiguous_clause ambiguous_list ambiguous_command number spelling fragment no_cue"
_STATEMENTS = frozenset(("sentence",))
"""Whole, and yet people often add to them."""
_DOUBTFUL = frozenset("trailing_comma enumeration subordinate_clause unfinished_number unfinished_clause".split())
"""Open by their structure, not by their last word: a recogniser's mistake is likely enough."""
_BY_KIND: tuple[tuple[CueKind, str], ...] = (("open", _OPEN), ("complete", _COMPLETE), ("unknown", _UNKNOWN))
REASONS: dict[str, CueKind] = {why: kind for kind, reasons in _BY_KIND for why in reasons.split()}
"""Every reason that a cue can have, and the kind that it makes."""

_LOOKED_AT = 600
"""Characters from the end: what lies before says nothing of the end, and the cost stays bounded."""
_WEAK_MARKS = " .!\"'”’»)]}。！"
_OPEN_MARKS = {
    ",": "trailing_comma", "、": "trailing_comma", "，": "trailing_comma", "،": "trailing_comma",
    ";": "trailing_comma", "；": "trailing_comma", ":": "trailing_colon", "：": "trailing_colon",
    "-": "trailing_dash", "–": "trailing_dash", "—": "trailing_dash", "…": "ellipsis",
}  # fmt: skip
_QUESTION_MARKS = "?？؟"
_PAIRS = (("(", ")"), ("[", "]"), ("“", "”"), ("«", "»"), ("「", "」"))
_WORD = re.compile(r"[^\W_](?:[^\W_]|['’.-](?=[^\W_]))*['’]?")


@dataclass(frozen=True, slots=True)
class Cue:
    """What the words of an open turn say of its end."""

    kind: CueKind
    """ "open": more is to come, wait longer. "complete": whole as it stands. "unknown": nobody can tell."""
    why: str
    """The reason, one of `REASONS`."""

    @property
    def words(self) -> WordCue:
        """The cue as the turn machine takes it."""
        if self.kind == "complete":
            return "statement" if self.why in _STATEMENTS else "handover"
        if self.kind == "open":
            return "doubtful" if self.why in _DOUBTFUL else "open"
        return "doubtful" if self.why == "ambiguous_clause" else "unknown"


_CUES: dict[str, Cue] = {why: Cue(kind, why) for why, kind in REASONS.items()}


def judge(text: str, language: str | None = None) -> Cue:
    """Say whether the transcript of an open turn looks finished. Never raises, whatever the text.

    :param text: what has been heard of the turn so far; case and a final full stop do not matter.
    :param language: its language ("en", "en-US", "de", ...). None or one without rules here: punctuation alone.
    """
    said = " ".join(text[-_LOOKED_AT:].split())
    if len(text) > _LOOKED_AT:
        said = said.partition(" ")[2] or said
    if not any(map(str.isalnum, said)):
        return _CUES["empty"]
    code = language_code(language)
    mark = _mark_cue(said)
    asked = _ends_in_question(said)
    if code == "en":
        why = english_cue(said)
    elif code in CLOSED_WORDS:
        why = _closed_class_cue(said, CLOSED_WORDS[code])
    else:
        why = None
    if why is not None and REASONS[why] == "open" and not (asked and code != "en" and why == "trailing_preposition"):
        return _CUES[why]
    if mark is not None:
        return _CUES[mark]
    if asked:
        return _CUES["question_mark"]
    return _CUES[why or "no_cue"]


def _ends_in_question(said: str) -> bool:
    return said.rstrip(_WEAK_MARKS).endswith(tuple(_QUESTION_MARKS))


def _mark_cue(said: str) -> str | None:
    """What punctuation alone says for an open end."""
    end = said.rstrip("\"'”’»")
    if end.endswith(("...", "..")):
        return "ellipsis"
    bare = said.rstrip(_WEAK_MARKS)
    if bare and bare[-1] in _OPEN_MARKS:
        return _OPEN_MARKS[bare[-1]]
    if said.count('"') % 2 or any(said.count(first) > said.count(last) for first, last in _PAIRS):
        return "open_quote"
    return None


def _closed_class_cue(said: str, words: ClosedWords) -> str | None:
    found = [word.replace("’", "'").casefold() for word in _WORD.findall(said)]
    last = found[-1]
    if " ".join(found) in words.answers:
        return "set_phrase"
    for why, members in (
        ("filler", words.fillers),
        ("trailing_conjunction", words.conjunctions),
        ("trailing_preposition", words.prepositions),
        ("trailing_determiner", words.determiners),
    ):
        if last in members:
            return why
    return None
