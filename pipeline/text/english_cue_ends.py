"""English: how the last sentence of a turn ends: fillers, words that lean on the next one, verbs without their object.

A rule answers with a reason, with "fine" (its word may well end a turn: no later rule is asked), or None (no opinion).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from antiphon.pipeline.text import english_cue_words as w
from antiphon.pipeline.text.english_cue_numbers import is_date_ending, number_cue

_CONTRACTED = re.compile(
    r"(?:\w+'(?:d|ll|ve|re|m)|(?:he|she|it|that|this|there|here|what|who|where|when|how|why|let)'s)\Z"
)
_POSSESSIVE = re.compile(r"\w+'s?\Z")
_CONJUNCTION_PAIRS = frozenset((("even", "though"), ("as", "though"), ("and", "then"), ("and", "yet")))
_BARE_BE = frozenset("am is are was were".split())


@dataclass(frozen=True, slots=True)
class Said:
    """The last sentence of a turn."""

    words: tuple[str, ...]
    """Lower-case words, at least one, hyphens taken apart."""
    commas: frozenset[int]
    """Words (by index) that a comma follows."""
    alone: bool
    """Whether the turn has no other sentence."""

    @property
    def phrase(self) -> str:
        return " ".join(self.words)


def end_cue(said: Said) -> str | None:
    """The reason that the last words give; None: nothing against them as an end."""
    words = said.words
    last = words[-1]
    before = words[-2] if len(words) > 1 else ""
    if _ends_with(words, w.ELLIPTIC_ENDINGS):
        return None
    if last in w.FILLERS or _is_thinking_aloud(said):
        return "filler"
    if found := number_cue(words):
        return found
    if last in w.CONJUNCTIONS or (before, last) in _CONJUNCTION_PAIRS:
        return "ambiguous_end" if (before, last) in (("a", "while"), ("the", "plus")) else "trailing_conjunction"
    for rule in (_determiner, _demonstrative, _wh_word, _preposition, _pronoun, _auxiliary, _adverb, _verb):
        found = rule(words, last, before)
        if found:
            return found if found != "fine" else None
    return None


def _ends_with(words: tuple[str, ...], endings: frozenset[str]) -> bool:
    return any(" ".join(words[-size:]) in endings for size in range(1, min(4, len(words)) + 1))


def _is_thinking_aloud(said: Said) -> bool:
    words = said.words
    last = words[-1]
    if _ends_with(words, w.WAITING):
        return words[-3:] != ("do", "you", "know") and words[-4:] != ("what", "do", "i", "mean")
    after_comma = len(words) == 1 or len(words) - 2 in said.commas
    return (last == "well" and (after_comma or words[-2] in ("and", "so", "but"))) or (last == "like" and after_comma)


def _determiner(words: tuple[str, ...], last: str, before: str) -> str | None:
    if last not in w.DETERMINERS:
        return None
    if last == "a" and (
        len(before) == 1 or before in ("plan", "vitamin", "option", "grade", "gate", "terminal", "type")
    ):
        return "spelling"
    if last == "her":  # an object too: "call her", "tell me about her"
        return "ambiguous_end" if before and before not in w.AUXILIARIES | {"and"} else "trailing_determiner"
    if last == "his" and before in w.BE:
        return "ambiguous_end"
    return "trailing_determiner"


def _demonstrative(words: tuple[str, ...], last: str, before: str) -> str | None:
    if last not in w.DEMONSTRATIVES:
        return None
    start = _skip_leads(words)
    if start < len(words) - 1 and words[start].removesuffix("'s") in w.WH_WORDS:
        return (
            "fine"
            if before in w.BE | w.PREPOSITIONS | w.VERBS | w.COMMANDS or "'s" in before
            else "trailing_determiner"
        )
    if last == "that" and len(words) - start == 2 and before in w.UNDOABLE:
        return "fine"
    if last == "that" and before in w.SAYING - w.OBJECTS - {"is", "was", "say", "said", "see", "know", "remember"}:
        return "trailing_conjunction"
    if last == "that" and before in ("like", "all", "about", "do", "stop", "repeat", "again", "than", "after", "for"):
        return "fine"
    if len(words) - start >= 2 and before in w.COMMANDS - {"tell", "ask", "say", "show", "text"}:
        return "ambiguous_end"
    if before in w.PREPOSITIONS | w.PARTICLES | w.VERBS - w.SAYING - {"tells", "show"}:
        return "ambiguous_end"
    return "trailing_determiner" if last != "that" else "trailing_conjunction"


def _wh_word(words: tuple[str, ...], last: str, before: str) -> str | None:
    if last not in w.WH_WORDS:
        return None
    if last in ("which", "whose"):
        return "trailing_conjunction"
    return (
        "ambiguous_end" if len(words) == 1 or before in ("know", "sure", "understand", "me") else "trailing_conjunction"
    )


def _preposition(words: tuple[str, ...], last: str, before: str) -> str | None:
    if last in w.PREPOSITIONS:
        if not _is_stranded(words) or (last == "to" and before in _BEFORE_INFINITIVES):
            if last == "with" and before == "come":
                return "ambiguous_end"
            return "trailing_preposition"
        return "fine"
    if (
        last in ("before", "after")
        and before
        and before not in ("ever", "never", "day", "week", "night", "soon", "right")
    ):
        return (
            "ambiguous_end"
            if {"have", "had", "has"} & set(words) or "'ve " in " ".join(words)
            else "trailing_preposition"
        )
    if last not in w.PARTICLES:
        return None
    if f"{before} {last}" in w.INTRANSITIVE_PHRASAL:
        return "fine"
    if last in ("in", "on") and _is_stranded(words):
        return "fine"
    return _particle(words, last, before)


_BEFORE_INFINITIVES = (
    frozenset("able get go going have like need say supposed try trying used want".split()) | w.PRONOUNS
)


def _particle(words: tuple[str, ...], last: str, before: str) -> str | None:
    """ "turn it on" is whole, "turn on" is not, "the meeting is on" is not, and "he went out" may be."""
    if len(words) == 2 and before in w.SWITCHED:
        return "fine"
    start = _skip_leads(words)
    opening = [at for at in range(start, len(words) - 2) if words[at] in _PHRASAL_VERBS]
    if opening and (last in ("on", "off", "up", "down", "out", "away", "in", "over", "around")):
        return "fine" if before not in w.PREPOSITIONS else "trailing_preposition"
    if before in ("turn", "switch") and words[-3:-2] in (("doesn't",), ("won't",), ("didn't",)):
        return "fine"
    if last in ("in", "on", "under", "through", "across", "past", "along") or before in _PHRASAL_VERBS:
        return "trailing_preposition"
    return "ambiguous_end" if len(words) > 1 else None


_PHRASAL_VERBS = frozenset(
    "turn turned turning switch switched put puts take took pick picked set shut bring pull hang call let try hand "
    "fill write cut look plug leave keep get cheer wake woke pass give lift throw clean move".split()
)


def _is_stranded(words: tuple[str, ...]) -> bool:
    """Whether the object of the last preposition stands before: "what is it for", "who are you talking to"."""
    start = _skip_leads(words)
    first, verb = words[start].removesuffix("'s"), words[-2] if len(words) - start > 2 else ""
    if first not in ("what", "who", "whom", "which", "where") or not verb:
        return False
    if first == "where":
        return words[-1] in ("from", "at", "to") and (verb in w.PRONOUNS or verb in w.STRANDING_VERBS)
    if first == "what" and words[start + 1] in ("time", "day", "date", "temperature"):
        return False
    looks_verbal = verb in w.STRANDING_VERBS or (verb.endswith(("ing", "ed")) and verb not in ("going", "during"))
    return looks_verbal or verb in w.PRONOUNS | w.OBJECTS | {"this", "that"} or verb in ("made", "interested")


def _pronoun(words: tuple[str, ...], last: str, before: str) -> str | None:
    start = _skip_leads(words)
    first = words[start].removesuffix("'s") if start < len(words) else ""
    if last not in w.SUBJECTS | {"it", "you", "there"}:
        return None
    if before in w.NEGATED:
        return "trailing_subject" if first in w.WH_WORDS or start == len(words) - 2 else "question"
    if before in _BARE_BE or (before.endswith("'s") and before.removesuffix("'s") in w.WH_WORDS):
        if first not in w.WH_WORDS:  # "is it", but not "I was there", "that was it"
            return "trailing_subject" if start == len(words) - 2 or last in w.SUBJECTS else None
        if first == "what" and last in ("you", "he", "she", "they", "we", "i"):
            return "trailing_subject"
        return "trailing_subject" if first == "why" else "question"
    if before in w.MODALS | w.DO_HAVE:
        return "trailing_subject" if before not in ("have", "had", "do") or last in w.SUBJECTS | {"you"} else None
    return "trailing_subject" if last in w.SUBJECTS and before != "me" else None


def _auxiliary(words: tuple[str, ...], last: str, before: str) -> str | None:
    if _CONTRACTED.match(last):
        return "trailing_contraction"
    if _POSSESSIVE.match(last) and last.endswith(("'s", "s'")):
        return "trailing_determiner" if before in w.DETERMINERS else "ambiguous_end"
    if last == "not":
        return (
            "ambiguous_end"
            if before in ("why", "hope", "or", "course", "probably", "maybe", "guess", "rather", "")
            else "trailing_auxiliary"
        )
    if last not in w.AUXILIARIES | w.NEGATED:
        return None
    if last in w.NUMBER_LIKE_NOUNS and (before in w.DETERMINERS or is_date_ending(words)):
        return "fine"
    if last == "am" and before and (before[0].isdecimal() or before not in ("i", "who", "what", "where", "and")):
        return "fine"
    start = _skip_leads(words)
    asks = start < len(words) - 2 and words[start].removesuffix("'s") in w.WH_WORDS
    if asks and last in ("be", "been", "do", "have") and before not in w.WH_WORDS:
        return "question"
    if start and words[start - 1] in ("yes", "no", "yeah") and len(words) - start == 2 and before in w.PRONOUNS:
        return "set_phrase"
    if before in w.PRONOUNS | {"this", "that"} and w.WH_WORDS.intersection(words[start + 1 : -2]) and last in _BARE_BE:
        return "sentence"  # "I don't know who she is"
    if last in _BARE_BE and _ends_in_embedded_question(words[start:]):
        return "sentence"
    if before in w.PRONOUNS and (words[-3:-2] in (("than",), ("as",), ("if",)) or "as" in words[-5:-2]):
        return "ambiguous_end"  # "as fast as you can"
    return "trailing_auxiliary"


def _ends_in_embedded_question(words: tuple[str, ...]) -> bool:
    """ "Tell me where the station is", but not "I'll call when the train is"."""
    for at in range(len(words) - 4, 0, -1):
        if words[at] in ("where", "what", "who", "how"):
            return words[at + 1] in w.DETERMINERS and len(words) - at <= 6
    return False


def _adverb(words: tuple[str, ...], last: str, before: str) -> str | None:
    if last == "more" and before in ("a", "one", "once", "no", "any", "some"):
        return "fine"
    if last in w.EAGER:
        if last in ("really", "almost", "even", "only", "ever", "never", "different") and before in (
            "not",
            "no",
            "",
            "read",
            "than",
        ):
            return "ambiguous_end"
        if last == "different" and before not in w.DETERMINERS:
            return "fine"
        if last == "another" and before == "one":
            return "fine"
        return "trailing_adverb"
    if last in ("very", "too", "quite", "pretty", "rather", "extremely", "fairly", "totally") and (
        last in ("very", "extremely", "fairly") or before in w.AUXILIARIES or _CONTRACTED.match(before)
    ):
        return "trailing_adverb"
    if last == "no" and before in w.AUXILIARIES | {"there's", "with"}:
        return "trailing_determiner"
    if last in ("some", "any") and before == "there":
        return "trailing_determiner"
    if last in ("some", "any", "each", "both", "several", "many", "more") and before and before not in ("with", "want"):
        return "ambiguous_end"
    if last in w.LEANING_ADJECTIVES and before in w.DETERMINERS | w.DEMONSTRATIVES:
        return (
            "ambiguous_end"
            if last in w.NOUN_LIKE_ADJECTIVES and before in ("the", "this", "that", "a")
            else "trailing_adjective"
        )
    return None


def _verb(words: tuple[str, ...], last: str, before: str) -> str | None:
    start = _skip_leads(words)
    first = words[start].removesuffix("'s") if start < len(words) else ""
    asks_object = (
        first in ("what", "which", "who", "whom", "how")
        and len(words) - start > 2
        and not (first == "how" and words[start + 1] in w.AUXILIARIES and last not in ("feel", "mean"))
    )
    giving = last in w.OBJECTS and before in w.GIVING | {"let"}
    if giving and not asks_object:
        return (
            "ambiguous_end" if before in ("call", "ask", "text", "pass") and len(words) > start + 2 else "trailing_verb"
        )
    if last == "know" and "let" in words[:-1]:
        return "fine"
    if last == "like" and (
        before.endswith("'d") or before == "would" or (before in w.PRONOUNS and "would" in words[-3:])
    ):
        return "fine" if asks_object else "trailing_verb"
    if last == "like" and before in ("i", "we", "they") and len(words) - start == 2:
        return "trailing_verb"
    if asks_object and not w.CLAUSE_OPENERS.intersection(words[start + 2 :]):
        return None
    if before in w.PRONOUNS and words[-3:-2] and words[-3] in _OBJECTS_BEFORE:
        return "ambiguous_end"  # "that's what I want"
    if last in w.NEED_OBJECT - w.VERB_OR_NOUN:
        return "trailing_verb" if before not in ("the", "a", "you") or last != "say" else None
    if last in w.VERB_OR_NOUN and (
        before in w.VERB_LEADS or (start == len(words) - 1 and last not in ("play", "cancel", "repeat"))
    ):
        return "trailing_verb"
    if before in ("my", "the") and last in ("number", "name", "address") and len(words) == 2:
        return "ambiguous_end"
    return None


_OBJECTS_BEFORE = frozenset("all anything everything nothing one something that what whatever which".split())


def _skip_leads(words: tuple[str, ...]) -> int:
    """Where the sentence itself begins, after "okay", "so", "well"; the last word is never skipped."""
    at = 0
    while at < len(words) - 1 and words[at] in w.LEADS | w.FILLERS:
        at += 1
    return at
