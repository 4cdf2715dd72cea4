"""English: how the last sentence of a turn is built, once its end looks well: clauses, lists, questions, commands."""

from __future__ import annotations

from antiphon.pipeline.text import english_cue_words as w
from antiphon.pipeline.text.english_cue_numbers import NUMBER_WORDS

_QUESTION_LEADS = w.AUXILIARIES | w.NEGATED
_LIST_ITEM_WORDS = 3


def clause_cue(words: tuple[str, ...], commas: frozenset[int], alone: bool) -> str | None:
    """The reason that the build of a sentence gives, whose end no rule minds; None: no opinion.

    :param words: lower-case words of the sentence, at least one.
    :param commas: the words, by index, that a comma follows.
    :param alone: whether the turn has no other sentence.
    """
    start = 0
    while start < len(words) - 1 and words[start] in w.LEADS | w.FILLERS:
        start += 1
    core = words[start:]
    if found := _introduction(words, core):
        return found
    if core[:3] in (("as", "soon", "as"), ("as", "long", "as")):
        return _subordinate(core[2:], frozenset(at - start - 2 for at in commas), alone_is="subordinate_clause")
    if core[0] in w.SUBORDINATORS | w.ANSWERING_SUBORDINATORS and not _asks(core):
        return _subordinate(core, commas=frozenset(at - start for at in commas))
    if found := _list(words, commas):
        return found
    if _clause_without_verb(core):
        return "unfinished_clause"
    if _asks(core):
        return _question(core)
    if core[0] in w.COMMANDS and (len(core) == 1 or core[1] not in w.AUXILIARIES):
        return _command(core)
    return _statement(words, core, alone)


# ------------------------------------------------------------------------ parts of sentences


def _introduction(words: tuple[str, ...], core: tuple[str, ...]) -> str | None:
    """ "first of all", "actually": alone they introduce. "And so, my fellow Americans" has no verb yet."""
    phrase = " ".join(words)
    found = w.INTRODUCTIONS.match(phrase)
    while found:
        phrase = phrase[found.end() :]
        if not phrase:
            return "introduction"
        found = w.INTRODUCTIONS.match(phrase)
    starts_on = words[0] in ("so", "but") or words[:2] in (("and", "so"), ("and", "then"))
    return "introduction" if starts_on and not _has_verb(words) and core[0] not in w.WH_WORDS | w.COMMANDS else None


def _has_verb(words: tuple[str, ...]) -> bool:
    return bool(_verb_places(words))


def _verb_places(words: tuple[str, ...]) -> list[int]:
    """Where finite verbs stand, as far as closed lists and the subject before them tell."""
    return [at for at in range(len(words)) if _is_verb(words, at)]


def _is_verb(words: tuple[str, ...], at: int) -> bool:
    word, before = words[at], words[at - 1] if at else ""
    if word in w.AUXILIARIES | w.NEGATED:
        if word in w.NUMBER_LIKE_NOUNS and before in w.PREPOSITIONS | {"in"}:
            return False  # "in may"
        if word == "am" and before not in ("i", "who", "what", "where", "and", ""):
            return False  # "nine am"
        return word not in ("be", "been", "being", "having") and before not in w.DETERMINERS
    if "'" in word and (word.endswith(("'re", "'m", "'ve", "'ll", "'d")) or word in _IS_WORDS):
        return True
    if before in w.DETERMINERS | w.PREPOSITIONS | {"to"}:
        return False
    begins = at == 1 or (at > 1 and words[at - 2] in w.CLAUSE_OPENERS | w.CONJUNCTIONS)
    if at > 0 and (before in w.SUBJECTS | {"i", "you", "who"} or (before == "it" and begins)):
        return word not in w.PREPOSITIONS | w.PARTICLES | w.DETERMINERS | w.CONJUNCTIONS
    if before in ("some", "any", "no", "this", "that", "these", "those") and word in w.NOUN_LIKE_VERBS:
        return False
    return at > 0 and (word in w.VERBS or (word.endswith("ed") and len(word) > 4 and word not in NUMBER_WORDS))


_FREE_AFTER_OPENERS = frozenset("about again else much necessary not now of one part possible time to too way".split())
_IS_WORDS = frozenset("it's he's she's that's there's here's what's who's where's how's when's why's this's".split())


def _clause_without_verb(core: tuple[str, ...]) -> bool:
    """After "because", "if", "when", "that": a subject, and no verb yet ("because my internet")."""
    for at in range(len(core) - 1, 0, -1):
        word, before = core[at], core[at - 1]
        opens = word in w.CLAUSE_OPENERS or (
            word == "that" and before in w.SAYING and core[0].removesuffix("'s") not in w.WH_WORDS
        )
        if opens:
            rest = core[at + 1 :]
            free = not rest or rest[0] in _FREE_AFTER_OPENERS
            asks_again = word in w.WH_WORDS and before in ("about", "or", "and")
            object_of_command = word == "that" and core[0] in w.COMMANDS
            return not (free or asks_again or object_of_command or _has_verb(rest) or _has_verb((word, *rest)))
    return False


def _subordinate(core: tuple[str, ...], commas: frozenset[int], alone_is: str = "") -> str:
    """A clause with "if" or "when" in front: whole once its main clause is."""
    verbs = _verb_places(core[1:])
    first_verb = verbs[0] + 1 if verbs else len(core)
    for at in range(2, len(core) - 1):
        after_comma = at - 1 in commas
        if not (after_comma or first_verb < at > 2) or not _main_clause_at(core, at, after_comma):
            continue
        tail = core[at:] if core[at] != "then" else core[at + 1 :]
        found = clause_cue(tail, frozenset(), False) if tail else None
        return found if found in ("sentence", "question", "command") else "ambiguous_clause"
    return alone_is or ("ambiguous_clause" if core[0] in w.ANSWERING_SUBORDINATORS else "subordinate_clause")


def _main_clause_at(core: tuple[str, ...], at: int, after_comma: bool) -> bool:
    word, after = core[at], core[at + 1]
    if core[at - 1] in w.CONJUNCTIONS | w.PREPOSITIONS | w.DETERMINERS | w.SAYING - w.OBJECTS | w.WH_WORDS:
        return False
    if word in w.SUBJECTS | {"it", "you", "there"} and core[at - 1] not in w.AUXILIARIES:
        return True
    if "'" in word and not word.endswith("n't") and word.split("'")[0] in w.PRONOUNS | {"what", "let", "that"}:
        return True
    if word in w.WH_WORDS | {"please", "then"}:
        return True
    if after_comma:
        return word in w.COMMANDS | _QUESTION_LEADS or _has_verb(core[at:])
    return word in w.COMMANDS and (after in w.DETERMINERS | w.OBJECTS | {"on", "off", "it", "some"})


def _list(words: tuple[str, ...], commas: frozenset[int]) -> str | None:
    """ "eggs, milk" goes on, "eggs, milk and bread" does not."""
    inner = sorted(at for at in commas if at < len(words) - 1)
    if not inner:
        return None
    last_item = words[inner[-1] + 1 :]
    if len(last_item) > _LIST_ITEM_WORDS or not _is_item(last_item):
        return None
    if len(inner) == 1:
        first_item = words[: inner[0] + 1]
        return "ambiguous_list" if len(first_item) > 1 or first_item[0] not in w.LEADS else None
    middle = words[inner[-2] + 1 : inner[-1] + 1]
    return "enumeration" if len(middle) <= _LIST_ITEM_WORDS and _is_item(middle) else "ambiguous_list"


def _is_item(words: tuple[str, ...]) -> bool:
    verbal = w.AUXILIARIES | w.NEGATED | w.PRONOUNS | w.LIST_STOPPERS | w.WH_WORDS
    return not verbal.intersection(words) and not any("'" in word for word in words) and words[0] not in w.COMMANDS


# ------------------------------------------------------------------------ questions


def _asks(core: tuple[str, ...]) -> bool:
    first = core[0].removesuffix("'s").removesuffix("'re").removesuffix("'d").removesuffix("'ll")
    if first == "when":  # "when I get home" is no question
        return len(core) > 1 and (core[1] in _QUESTION_LEADS or core[0] != "when")
    if first in w.WH_WORDS:
        return True
    return (
        core[0] in _QUESTION_LEADS - {"being", "been", "be", "having", "am"}
        and (
            core[0] != "do"
            or (len(core) > 1 and core[1] in w.PRONOUNS | w.DETERMINERS | {"any", "these", "those", "people"})
        )
        and core[0] != "don't"
    )


def _question(core: tuple[str, ...]) -> str | None:
    if core[0] in _QUESTION_LEADS:
        return _yes_no_question(core)
    if core[:2] in (("what", "about"), ("how", "about"), ("what", "else"), ("why", "not")):
        return "question" if len(core) > 2 else "ambiguous_end"
    at = 0 if "'" in core[0] else next((i for i in range(1, len(core)) if core[i] in _QUESTION_LEADS), None)
    if at is None:  # "who wrote Hamlet", "what happened", but "what time"
        return _subject_question(core)
    rest = core[at + 1 :]
    if not rest:
        return "unfinished_question"
    verb = "is" if "'" in core[at] and at == 0 else core[at]
    if rest[-1] in ("way", "difference", "chance", "purpose"):
        return "ambiguous_clause"  # "what's the fastest way": to where?
    if verb in w.BE | {"is"}:
        noun_only = rest[0] in w.DETERMINERS | w.DEMONSTRATIVES and len(rest) <= 2
        needs_more = core[0] in ("why",) or (core[0] == "when" and rest[-1].endswith("ing"))
        return "unfinished_question" if noun_only and needs_more else "question"
    return _do_question(core[:at], rest)


def _subject_question(core: tuple[str, ...]) -> str:
    """A question about the subject, or one that has only named what it is about: "what time"."""
    if len(core) == 2 and _is_verb(("it", core[1]), 1) and (core[1] in w.VERBS or core[1].endswith("ed")):
        return "question" if core[1] in w.WHOLE_VERBS else "unfinished_question"
    return "question" if _has_verb(core) else "ambiguous_end"


def _do_question(asked: tuple[str, ...], rest: tuple[str, ...]) -> str:
    """What follows "do", "can", "will": a subject and a verb."""
    if rest[0] in w.DETERMINERS | w.DEMONSTRATIVES:
        if len(rest) <= 2:
            whole = rest[0] in w.DEMONSTRATIVES and rest[-1] in w.BARE_VERBS
            return "question" if whole else "unfinished_question"
        whole = _has_base_verb(rest[2:])
        return "question" if whole else "ambiguous_clause"
    if len(rest) == 1 and asked[:1] != ("who",):
        return "unfinished_question" if rest[0] not in w.BARE_VERBS | w.VERBS else "question"
    needs_object = asked[0] in ("where", "when", "why", "how") and rest[-1] in w.NEED_OBJECT
    return "unfinished_question" if needs_object and asked[-1] not in ("much", "many", "long", "often") else "question"


def _has_base_verb(words: tuple[str, ...]) -> bool:
    return any(word in w.BARE_VERBS | w.VERBS | w.COMMANDS | w.NEED_OBJECT for word in words)


def _yes_no_question(core: tuple[str, ...]) -> str:
    verb, rest = core[0], core[1:]
    if not rest:
        return "unfinished_question"
    if len(rest) <= 2 and rest[0] in w.DETERMINERS | w.DEMONSTRATIVES and verb not in w.BE:
        return "unfinished_question"
    pronoun = rest[0] in w.PRONOUNS | w.DEMONSTRATIVES | {"anyone", "anybody", "someone", "everything", "everyone"}
    if verb in w.BE or verb in ("isn't", "aren't", "wasn't", "weren't"):
        if rest[0] == "there":
            return (
                "question"
                if len(rest) > 1 and rest[-1] not in w.DETERMINERS | {"any", "some"}
                else "unfinished_question"
            )
        if pronoun and not (rest[0] in ("these", "those") and len(rest) == 2):
            return "question" if len(rest) > 1 else "unfinished_question"
        return "unfinished_question" if len(rest) <= 2 else "question"
    if pronoun:
        return "question" if len(rest) > 1 else "unfinished_question"
    return "question" if _has_base_verb(rest[1:]) else "ambiguous_clause"


# ------------------------------------------------------------------------ commands, statements, answers


def _command(core: tuple[str, ...]) -> str:
    verb, rest = core[0], core[1:]
    if not rest:
        return "ambiguous_command"
    if verb == "put" and not any(word in w.PREPOSITIONS | w.PARTICLES | {"back", "away"} for word in rest):
        return "unfinished_command"
    if (
        verb in ("turn", "switch")
        and rest[0] in w.DETERMINERS
        and not (w.PREPOSITIONS | w.PARTICLES).intersection(rest)
    ):
        return "unfinished_command"
    if verb in ("tell", "ask", "remind") and len(rest) <= 1:
        return "unfinished_command"
    if verb in ("set", "change", "raise", "lower") and rest[0] in ("the", "my") and "to" not in rest and len(rest) <= 3:
        return "unfinished_command" if verb in ("set", "change") else "command"
    if verb in w.MOVES - {"add", "put", "set", "raise", "lower"} and not w.PREPOSITIONS.intersection(rest):
        return "ambiguous_command"
    if verb in ("text", "reply", "send") and len(rest) == 1:
        return "ambiguous_command"
    return "command"


def _statement(words: tuple[str, ...], core: tuple[str, ...], alone: bool) -> str | None:
    places = _verb_places(core)
    if not places:
        return _answer(core) if alone else "fragment"
    first, last = places[0], places[-1]
    if first == 0 and "'" not in core[0]:
        return "fragment"
    noun = core[last] in w.NOUN_LIKE_VERBS and core[last - 1] not in w.NOT_BEFORE_NOUNS
    if last == len(core) - 1 and len(places) > 1 and noun:
        return "sentence"  # "two tickets for the late show"
    if last == len(core) - 1:  # "he bought", but also "my suitcase didn't arrive", where the verb list knows "arrive"
        return "sentence" if last - 1 in places and core[last] in w.BARE_VERBS else "ambiguous_clause"
    if first == 0 and len(core) <= 2 and core[1] in w.DETERMINERS:
        return "trailing_determiner"
    return "sentence"


def _answer(core: tuple[str, ...]) -> str:
    """A bare noun phrase of up to four words is what people answer with; "the red car" may be a subject."""
    counted = core[0] in NUMBER_WORDS | {"a", "an", "some"} or core[0][0].isdecimal()
    if len(core) > (8 if counted else 4) or core[0] in w.PREPOSITIONS | w.PARTICLES | w.PRONOUNS | w.CONJUNCTIONS:
        return "fragment"
    if core[0] in w.DETERMINERS - {"a", "an"} | w.DEMONSTRATIVES and core[-1] not in ("one", "ones"):
        return "fragment"
    if len(core) == 1 and core[0] in w.VERBS - NUMBER_WORDS:
        return "ambiguous_command"
    return "short_answer"
