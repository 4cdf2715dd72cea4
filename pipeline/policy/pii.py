"""The check "pii": takes out what tells who somebody is, or gives access to their money. Uses no language model.

Numbers are found by form and check digits (`python-stdnum`), telephone numbers by the rules of their country
(`phonenumbers`), both as they are written and as they are spoken.
"""

from __future__ import annotations

import importlib
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from antiphon.pipeline.config.policy import PiiOptions
from antiphon.pipeline.errors import PolicyError
from antiphon.pipeline.policy.extras import needs
from antiphon.pipeline.policy.numerals import Symbol, begins_numeric, chains, characters, ends_numeric, windows
from antiphon.pipeline.policy.redaction import SegmentRedactor, Span
from antiphon.pipeline.policy.verdicts import Allow, Rewrite, Subject, Verdict

_PUNCTUATION = "\"'“”‘’«»‹›()[]{}<>.,;:!?…*_`~|"
_ENDS = re.compile(r"[.,;:!?…][\"'”’»›)\]}*_`]*\Z")
_MAIL_WORDS = frozenset(("at", "dot", "underscore", "dash", "hyphen", "punkt", "point", "punto", "arroba"))
_WRITTEN_MAIL = re.compile(r"[^\W_][\w.+%-]{0,63}@[^\W_][\w-]{0,62}(?:\.[\w-]{1,63}){1,8}")
_SPOKEN_MAIL = re.compile(
    r"(?<!\w)(?:\w\s+){0,32}[\w.+-]{1,64}(?:\s+(?:dot|underscore|dash|hyphen|point|punkt|punto)\s+[\w-]{1,64}){0,8}"
    r"\s+(?:at|arroba)\s+[\w-]{1,63}(?:(?:\s+(?:dot|point|punkt|punto)\s+|\.)[\w-]{1,63}){1,8}",
    re.IGNORECASE,
)
_NO_MAILBOX = frozenset(
    "us me him her them you it is are was were look looking looked visit found find available online here there and or "
    "page site website shop store".split()
)
"""Words before "at example dot com" that make it an address of the web."""
_CARD_START = "23456"
_CARD_DIGITS = (13, 19)
_IBAN_LENGTH = (15, 34)
_NATIONAL_LENGTH = (5, 20)


class PiiCheck:
    """Cards, IBANs, national numbers, telephone numbers, e-mail addresses, listed names, long numbers."""

    def __init__(self, options: PiiOptions) -> None:
        """
        :raises PolicyError: a package is missing, or `national` names a number that nobody knows.
        """
        self.options = options
        self._luhn = needs("stdnum.luhn", "python-stdnum") if options.cards else None
        self._iban = needs("stdnum.iban", "python-stdnum") if options.ibans else None
        self._phones = needs("phonenumbers", "phonenumbers") if options.phones else None
        self._national = [(name, _national(name)) for name in options.national]
        self._joint = _Joint(options)
        self._names = _names_pattern(options.names)

    async def check(self, subject: Subject) -> Verdict:
        redactor = self.redactor()
        if subject.gate == "tool_call":
            text = _in_arguments(subject.text, redactor)
        else:
            text = redactor.push(subject.text) + redactor.finish()
        if not redactor.found:
            return Allow()
        return Rewrite(text, what_was_found(redactor.found))

    def redactor(self) -> SegmentRedactor:
        return SegmentRedactor(self._joint, self.find, lambda span: self._replacement(span.kind))

    def find(self, segment: str) -> list[Span]:
        """What has to go from one segment, the more important first."""
        spans: list[Span] = []
        for chain in chains(segment, self.options.digit_words):
            spans += self._numbers(chain)
        spans += self._written_phones(segment)
        if self.options.emails:
            spans += [Span(*found.span(), "email") for found in _WRITTEN_MAIL.finditer(segment)]
            spans += [Span(*found.span(), "email") for found in _SPOKEN_MAIL.finditer(segment) if _is_mailbox(found)]
        if self._names is not None:
            spans += [Span(*found.span(), "name") for found in self._names.finditer(segment)]
        return spans

    # ------------------------------------------------------------------------ numbers

    def _numbers(self, chain: list[Symbol]) -> Iterator[Span]:
        if self._iban is not None:
            yield from self._valid(chain, _IBAN_LENGTH, "iban", self._iban.is_valid)
        if self._luhn is not None:
            yield from self._valid(chain, _CARD_DIGITS, "card", self._is_card)
        for name, module in self._national:
            yield from self._valid(chain, _NATIONAL_LENGTH, name, module.is_valid)
        yield from self._spoken_phones(chain)
        if self.options.long_numbers:
            yield from self._long(chain, self.options.long_numbers)

    def _valid(self, chain: list[Symbol], length: tuple[int, int], kind: str, is_valid: Any) -> Iterator[Span]:
        reached = 0
        for start, end in windows(chain, *length):
            if end > reached and is_valid(characters(chain, start, end)):
                reached = end
                yield Span(chain[start].start, chain[end - 1].end, kind)

    def _is_card(self, number: str) -> bool:
        if not number.isdecimal() or number[0] not in _CARD_START or len(set(number)) == 1:
            return False
        assert self._luhn is not None
        return bool(self._luhn.is_valid(number))

    def _long(self, chain: list[Symbol], at_least: int) -> Iterator[Span]:
        for run in re.finditer(r"\d+", characters(chain)):
            if len(run.group()) >= at_least:
                yield Span(chain[run.start()].start, chain[run.end() - 1].end, "number")

    # ------------------------------------------------------------------------ telephone numbers

    def _written_phones(self, segment: str) -> Iterator[Span]:
        if self._phones is not None and sum(map(str.isdecimal, segment)) >= 5:
            for found in self._phones.PhoneNumberMatcher(segment, self.options.region):
                yield Span(found.start, found.end, "phone")

    def _spoken_phones(self, chain: list[Symbol]) -> Iterator[Span]:
        """The same in what the chain's words stand for: nobody writes out where the groups of a spoken number end."""
        if self._phones is None or len({symbol.group for symbol in chain}) < 5:
            return
        text = characters(chain)
        for found in self._phones.PhoneNumberMatcher(text, self.options.region):
            yield Span(chain[found.start].start, chain[found.end - 1].end, "phone")

    def _replacement(self, kind: str) -> str:
        own = self.options.replacements.get(kind)
        return self.options.replacement.replace("{kind}", _SPOKEN_KINDS.get(kind, "number")) if own is None else own


_SPOKEN_KINDS = {
    "card": "card number",
    "iban": "account number",
    "phone": "phone number",
    "email": "email address",
    "name": "name",
}


def what_was_found(found: dict[str, int]) -> str:
    """For the record: kinds and counts, never the text."""
    return ", ".join(f"{kind} x{count}" for kind, count in sorted(found.items()))


class _Joint:
    """Which tokens may belong to one number, one spoken address or one name."""

    def __init__(self, options: PiiOptions) -> None:
        self._more = options.digit_words
        self._mail = options.emails
        self._pairs: dict[str, set[str]] = {}
        for name in options.names:
            words = [_core(word) for word in re.split(r"[\s-]+", name.strip())]
            for word, following in itertools.pairwise(words):
                self._pairs.setdefault(word, set()).add(following)

    def may_go_on(self, token: str) -> bool:
        if ends_numeric(token, self._more) or _core(token) in self._pairs:
            return True
        return self._mail and not _ENDS.search(token)

    def joins(self, token: str, following: str) -> bool:
        if ends_numeric(token, self._more) and begins_numeric(following, self._more):
            return True
        core, next_core = _core(token), _core(following)
        if next_core in self._pairs.get(core, ()):
            return True
        if not self._mail or _ENDS.search(token):
            return False
        return core in _MAIL_WORDS or next_core in _MAIL_WORDS or (len(core) == 1 and len(next_core) == 1)


def _core(token: str) -> str:
    """A word without the marks around it, in lower case, and without a possessive."""
    core = token.strip(_PUNCTUATION).casefold()
    for ending in ("'s", "’s"):
        core = core.removesuffix(ending)
    return core


def _names_pattern(names: Sequence[str]) -> re.Pattern[str] | None:
    # The longest first, so that "Anna Smith" goes as a whole where "Anna" is listed too.
    forms = [r"[\s\W]{1,4}".join(re.escape(word) for word in re.split(r"[\s-]+", name.strip())) for name in names]
    forms.sort(key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(forms)})(?!\w)", re.IGNORECASE) if forms else None


def _is_mailbox(found: re.Match[str]) -> bool:
    mailbox = re.split(r"\s+(?:at|arroba)\s+", found.group(), maxsplit=1, flags=re.IGNORECASE)[0]
    return mailbox.casefold() not in _NO_MAILBOX


def _in_arguments(arguments: str, redactor: SegmentRedactor) -> str:
    """The arguments of a tool call with every value redacted; keys stay.

    :raises ValueError: they are no JSON.
    """

    def redacted(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: redacted(item) for key, item in value.items()}
        if isinstance(value, list):
            return [redacted(item) for item in value]
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            text = str(value)
            clean = redactor.push(text) + redactor.finish()
            return value if clean == text else clean
        return value

    return json.dumps(redacted(json.loads(arguments)), ensure_ascii=False)


def _national(name: str) -> Any:
    """:raises PolicyError: `python-stdnum` has no such number."""
    needs("stdnum", "python-stdnum")
    try:
        return importlib.import_module(f"stdnum.{name}")
    except ImportError:
        raise PolicyError(
            f"'{name}' is no number that python-stdnum knows",
            hint="write country.number, for example us.ssn, de.idnr or gb.nhs: https://arthurdejong.org/python-stdnum",
        ) from None
