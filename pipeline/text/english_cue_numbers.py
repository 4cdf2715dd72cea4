"""English: numbers, addresses and spelled words that are still being said."""

from __future__ import annotations

from collections.abc import Sequence

_ONES = {name: str(at) for at, name in enumerate("zero one two three four five six seven eight nine".split())}
_DIGIT_WORDS = {**_ONES, "oh": "0", "o": "0", "nought": "0", "naught": "0"}
_TEENS = frozenset("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split())
_TENS = frozenset("twenty thirty forty fifty sixty seventy eighty ninety".split())
_SCALES = frozenset("hundred thousand million billion".split())
_REPEATS = frozenset("double triple".split())
_PENDING = frozenset("point dot slash underscore hyphen minus double triple backslash".split())
_DAYS = frozenset("monday tuesday wednesday thursday friday saturday sunday".split())
MONTHS = frozenset("january february march april may june july august september october november december".split())
NUMBER_WORDS = frozenset(_DIGIT_WORDS) | _TEENS | _TENS | _SCALES

_WANTED = (
    # What was announced, the digits below which it is surely unfinished, and those from which it is surely whole.
    (("card",), 12, 15),
    (("phone",), 7, 10), (("telephone",), 7, 10), (("mobile",), 7, 10), (("cell",), 7, 10), (("fax",), 7, 10),
    (("reach", "me"), 7, 10), (("reach", "us"), 7, 10), (("call", "me"), 7, 10), (("call", "me", "back"), 7, 10),
    (("social", "security"), 9, 9), (("zip",), 5, 5), (("postal", "code"), 4, 5), (("postcode",), 4, 5),
    (("security", "code"), 3, 3), (("cvv",), 3, 3), (("cvc",), 3, 3), (("pin",), 4, 4),
    (("iban",), 15, 22), (("account",), 6, 12), (("order",), 4, 12), (("reference",), 4, 12), (("booking",), 4, 12),
    (("confirmation",), 4, 12), (("tracking",), 8, 20), (("customer",), 4, 12), (("serial",), 6, 16),
    (("code",), 4, 6), (("my", "number"), 7, 10), (("the", "number"), 7, 10), (("his", "number"), 7, 10),
    (("her", "number"), 7, 10), (("our", "number"), 7, 10),
)  # fmt: skip
_ANNOUNCE = frozenset("is are it's at on number code zip pin postcode cvv cvc was iban ending".split())
_PRICES = frozenset("amount bill comes cost costs pay price total".split())
_SMALL_NUMBERS = frozenset("room gate platform flight house seat table bus line track lane door size".split())
_ADDRESSES = frozenset("email e-mail mail address website url".split())


def _digits_in(word: str) -> int | None:
    """How many digits a word stands for; None: it is no number."""
    if word in _DIGIT_WORDS:
        return 1
    if word in _TEENS:
        return 2
    if word in _TENS:
        return 1  # "fifty five" and "fifty" are two digits: the second comes with the next word or not at all
    if word in _REPEATS:
        return 0
    if word[0].isdecimal():
        return sum(char.isdecimal() for char in word)
    return None


def _tail_of_digits(words: Sequence[str]) -> tuple[int, int]:
    """Where the run of numbers at the end begins, and how many digits it has."""
    at, digits = len(words), 0
    while at > 0 and (count := _digits_in(words[at - 1])) is not None:
        at -= 1
        digits += count
        if words[at] in _REPEATS:
            digits += 1 if words[at] == "double" else 2
    return at, digits


def number_cue(words: Sequence[str]) -> str | None:
    """Why the end of these words looks like a number or an address in progress (or a whole one); None: no cue.

    :param words: lower-case words of the last sentence, at least one.
    """
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last in _PENDING and not (last in ("point", "dot", "minus") and before in ("", "the", "a", "my", "that", "no")):
        return "unfinished_number"
    if last in ("past", "to") and before in ("half", "quarter", "five", "ten", "twenty"):
        return "unfinished_number"
    return _code_cue(words) or _digits_cue(words) or _address_cue(words) or _spelling_cue(words)


def _digits_cue(words: Sequence[str]) -> str | None:
    start, digits = _tail_of_digits(words)
    if start == len(words):
        return None
    lead = words[max(0, start - 7) : start]
    before = lead[-1] if lead else ""
    run = words[start:]
    if before in ("in", "since") and len(run) == 1 and run[0] in ("nineteen", "twenty", "eighteen", "seventeen"):
        return "unfinished_number"
    if before == "the" and run[-1] in _TENS:
        return "unfinished_number"
    if before == "dial" or (before in ("is", "to", "was", "costs", "cost", "pay") and _PRICES.intersection(words)):
        return "number"
    if before in ("is", "at") and "address" in lead and "email" not in lead:
        return "unfinished_number"  # the house: the street follows
    if before == "for" and len(run) == 1 and ("timer" in lead or "countdown" in lead or "wait" in lead):
        return "unfinished_number"
    if lead and not _SMALL_NUMBERS.intersection(lead) and (_ANNOUNCE.intersection(lead[-2:])):
        for names, fewest, whole in _WANTED:
            if _contains(lead, names):
                if digits < fewest:
                    return "unfinished_number"
                return "whole_number" if digits >= whole else "number"
    singles = sum(word in _DIGIT_WORDS for word in run)
    if singles >= 3 or digits >= 5:
        if digits >= 10:
            return "whole_number"
        return "unfinished_number" if digits == 3 else "number"
    return None


def _code_cue(words: Sequence[str]) -> str | None:
    """Letters and digits mixed, announced as a number: "the ticket number is A3" is too short to be one."""
    code = words[-1]
    mixed = any(map(str.isdecimal, code)) and any(map(str.isalpha, code))
    announced = bool({"number", "code", "id", "reference"}.intersection(words[-6:-1])) and words[-2] in ("is", "was")
    return "unfinished_number" if len(words) > 2 and mixed and announced and len(code) < 4 else None


def _address_cue(words: Sequence[str]) -> str | None:
    """An e-mail address whose host has no dot yet."""
    if not _ADDRESSES.intersection(words) or words[-1] == "at":
        return None
    if "@" in words[-1] or "." in words[-1]:
        return None
    for at in range(len(words) - 1, max(0, len(words) - 5), -1):
        if words[at] == "dot":
            return None
        if words[at] == "at" and "is" in words[:at]:
            return "unfinished_address"
    return None


def _spelling_cue(words: Sequence[str]) -> str | None:
    """Single letters: nobody knows how many are to come."""
    single = [len(word) == 1 and word.isalpha() for word in words[-2:]]
    if len(single) == 2 and all(single):
        return "spelling"
    if single[-1] and words[-1] not in ("a", "i", "o") and any(word.startswith("spell") for word in words):
        return "spelling"
    return None


def _contains(words: Sequence[str], names: Sequence[str]) -> bool:
    size = len(names)
    return any(tuple(words[at : at + size]) == tuple(names) for at in range(len(words) - size + 1))


def is_date_ending(words: Sequence[str]) -> bool:
    """Whether the last word, a month or a day, is known as one: "in may", "the tenth of march"."""
    return len(words) > 1 and words[-1] in MONTHS | _DAYS and words[-2] in ("in", "of", "next", "last", "this", "since")
