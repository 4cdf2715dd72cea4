"""English: abbreviations, Roman numerals and signs as they are said."""

from __future__ import annotations

import re

from antiphon.pipeline.text.clean import PAUSE
from antiphon.pipeline.text.english_numbers import MONTHS, Rule, ordinal_below_hundred, words_below_hundred

_TITLES = {
    "Dr": "Doctor", "Mr": "Mister", "Mrs": "Missus", "Ms": "Miz", "Prof": "Professor", "Gen": "General",
    "Col": "Colonel", "Maj": "Major", "Capt": "Captain", "Lt": "Lieutenant", "Sgt": "Sergeant", "Rev": "Reverend",
    "Hon": "Honorable", "Sen": "Senator", "Rep": "Representative", "Gov": "Governor", "Pres": "President",
    "Mt": "Mount", "Ft": "Fort",
}  # fmt: skip
_STREETS = {"St": "Street", "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road"}
_PLAIN = {
    "e.g.": "for example", "i.e.": "that is", "vs.": "versus", "approx.": "approximately", "cf.": "compare",
    "viz.": "namely", "dept.": "department", "govt.": "government", "incl.": "including", "Jr.": "Junior",
    "Sr.": "Senior", "w/o": "without", "w/": "with", "Ph.D.": "P H D",
}  # fmt: skip
_NUMBERED = {
    "No": "number", "no": "number", "Nos": "numbers", "Fig": "figure", "fig": "figure", "Figs": "figures",
    "figs": "figures", "p": "page", "pp": "pages", "vol": "volume", "Vol": "volume", "ch": "chapter",
    "Ch": "chapter", "sec": "section", "Sec": "section", "ver": "version", "eq": "equation", "Eq": "equation",
    "ca": "about", "c": "about",
}  # fmt: skip
_SHORT_MONTHS = {month[:3]: month for month in MONTHS} | {"Sept": "September"}
_DAYS = {
    "Mon": "Monday", "Tue": "Tuesday", "Tues": "Tuesday", "Wed": "Wednesday", "Thu": "Thursday", "Thurs": "Thursday",
    "Fri": "Friday", "Sat": "Saturday", "Sun": "Sunday",
}  # fmt: skip

_ROMAN_VALUE = {"I": 1, "V": 5, "X": 10}
_ROMAN = r"(?=[IVX])(X{0,3}(?:IX|IV|V?I{0,3}))"
_REIGNS = (
    "Henry|Elizabeth|Louis|George|Edward|Charles|James|Richard|William|Catherine|Peter|Nicholas|Alexander|Frederick|"
    "Philip|Ferdinand|Pius|Paul|John|Benedict|Leo|Gregory|Clement|Innocent|Urban|Napoleon|Ramesses|Ramses|Ptolemy|"
    "Cleopatra|Darius|Otto|Wilhelm|Ivan|Francis|Joseph|Leopold|Margrethe|Harald|Carl|Gustav|Juan|Alfonso|Umberto|Mary"
)
_COUNTED = (
    "Chapter|Part|Act|Scene|Phase|Type|Volume|Book|Section|Class|Stage|Level|Article|Appendix|Grade|Figure|Table|Title|"
    "Step|Episode|Mark|Unit|chapter|part|act|phase|type|volume|section|stage|level|article|appendix|figure|table|episode"
)
_NOT_A_NAME = "A|An|The|This|That|My|Your|His|Her|Our|Their|For|In|On|At|To|And|Or|If|By|Use|Via|Per|Get|Give"

_SIGNS = {
    "≤": "is at most", "≥": "is at least", "≠": "is not equal to", "≈": "is about", "±": "plus or minus",
    "÷": "divided by", "√": "the square root of", "∞": "infinity", "π": "pi",
}  # fmt: skip

_SUPERSCRIPT = {ord(char): str(digit) for digit, char in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}


def _roman_value(text: str) -> int:
    values = [_ROMAN_VALUE[char] for char in text]
    return sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True))


def _counted_roman(found: re.Match[str]) -> str:
    return f"{found.group(1)} {words_below_hundred(_roman_value(found.group(2)))}"


def _reign(found: re.Match[str]) -> str:
    if found.group(2) == "I":
        return found.group()
    return f"{found.group(1)} the {ordinal_below_hundred(_roman_value(found.group(2)))}"


def _named_roman(found: re.Match[str]) -> str:
    return _counted_roman(found) if len(found.group(2)) > 1 and found.group(2) != "XX" else found.group()


def _plain(found: re.Match[str]) -> str:
    written = found.group()
    spoken = _PLAIN[written]
    ends = written.endswith(".") and written[:1].isupper() and not found.string[found.end() :].strip(" \n\"')")
    return spoken + ("." if ends else "")


def _acronym(found: re.Match[str]) -> str:
    """ "U.S. Army": a full stop there would be a pause. The last one of a piece stays."""
    letters = found.group().replace(".", "")
    rest = found.string[found.end() :]
    return (letters if letters in ("US", "USA", "UK", "EU") else " ".join(letters)) + (
        "" if rest.strip(" \n\"')") else "."
    )


def _street(found: re.Match[str]) -> str:
    ends = not found.string[found.end() :].strip(" \n\"')")
    return _STREETS[found.group(1)] + ("." if ends else "")


def _slashes(found: re.Match[str]) -> str:
    """A path is read with its slashes; "and/or" and "TCP/IP" are two words."""
    written = found.group()
    names = written.split("/")
    if len(names) > 2 or written[0] in "/~." or "." in names[-1].rstrip("."):
        return " ".join(written.replace("/", " slash ").split())
    return " ".join(names)


def _names(words: dict[str, str]) -> str:
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))


WORD_RULES: list[Rule] = [
    (re.compile(rf"(?<![\w.])(?:{_names(_PLAIN)})(?!\w)"), _plain),
    (re.compile(rf"\b({_names(_TITLES)})\. ?(?=[A-Z])"), lambda found: f"{_TITLES[found.group(1)]} "),
    (re.compile(r"\bMs(?= [A-Z][a-z])"), "Miz"),
    (re.compile(r"\bSt\. ?(?=[A-Z])"), "Saint "),
    (re.compile(rf"(?<=[A-Za-z] )({_names(_STREETS)})\.(?!\w)"), _street),
    (re.compile(rf"\b({_names(_NUMBERED)})\. ?(?=\d)"), lambda found: f"{_NUMBERED[found.group(1)]} "),
    (re.compile(rf"\b({_names(_SHORT_MONTHS)})\. ?(?=\d)"), lambda found: f"{_SHORT_MONTHS[found.group(1)]} "),
    (re.compile(rf"\b({_names(_DAYS)})\.(?=,? (?:[A-Z\d]))"), lambda found: _DAYS[found.group(1)]),
    (re.compile(r"(?<![\w.])(?:[A-Z]\.){2,6}(?!\w)"), _acronym),
    (re.compile(r"(?<![\w.])([A-HJ-Z])\.(?= (?:[A-Z]\. )?[A-Z][a-z])"), r"\1"),
    (re.compile(r"(?<=\w) (Inc|Ltd|Corp|Co)\.(?= [a-z])"), r" \1"),
    (re.compile(rf"\b({_COUNTED}) {_ROMAN}\b(?!['.]\w)"), _counted_roman),
    (re.compile(rf"\b({_REIGNS}) {_ROMAN}\b(?!['.]\w)"), _reign),
    (re.compile(rf"\b((?!(?:{_NOT_A_NAME})\b)[A-Z][a-z]{{1,24}}) {_ROMAN}\b(?!['.]\w)"), _named_roman),
]
"""Before the numbers."""


SIGN_RULES: list[Rule] = [
    (re.compile(r"\b([A-G])#(?!\w)"), r"\1 sharp"),
    (re.compile(r"#(?=\d)"), "number "),
    (re.compile(r"#(?=\w)"), ""),
    (re.compile(r"(?<![\w.])~ ?(?=[$€£]?\d)"), "about "),
    (re.compile(r"(?<=\w)\^2(?!\d)|(?<=\w)²"), " squared"),
    (re.compile(r"(?<=\w)\^3(?!\d)|(?<=\w)³"), " cubed"),
    (re.compile(r"(?<=\w)\^\{?(-?\w{1,6})\}?"), r" to the \1"),
    (re.compile(r"(?<=\w)([⁰¹⁴-⁹]{1,6})"), lambda found: " to the " + found.group().translate(_SUPERSCRIPT)),
    (re.compile(r" ?(?:<=|≤) ?"), " is at most "),
    (re.compile(r" ?(?:>=|≥) ?"), " is at least "),
    (re.compile(r" ?!= ?"), " is not equal to "),
    (re.compile(r"(?<=[\w)]) ?== ?(?=[\w(])"), " equals "),
    (re.compile(r"(?<=\d) - (?=\d[\d.,]{0,18}(?: [-+*/×÷] \d[\d.,]{0,18}){0,4} ?=)"), " minus "),
    (re.compile(r"(?<=\d) - (?=\d)"), " to "),
    (re.compile(r"(?<=[\w)]) ?= ?(?=[\w(-])"), " equals "),
    (re.compile(r"(?<=[\w)]) < (?=[\w(-])|(?<=\d)<(?=\d)"), " is less than "),
    (re.compile(r"(?<=[\w)]) > (?=[\w(-])|(?<=\d)>(?=\d)"), " is greater than "),
    (re.compile(r"(?<!\S)<(?=\d)"), "less than "),
    (re.compile(r"(?<!\S)>(?=\d)"), "more than "),
    (re.compile(f" ?([{''.join(_SIGNS)}]) ?"), lambda found: f" {_SIGNS[found.group(1)]} "),
    (re.compile(r"(?<=\w) ?× ?(?=\w)"), " times "),
    (re.compile(r"(?<=\d) ?/ ?(?=\d)| / (?=\w)"), " over "),
    (re.compile(r" ?& ?"), " and "),
    (
        re.compile(
            r"(?<![\w/.~])(?:[~.]{0,2}/)?[\w.-]{1,64}(?:/[\w.-]{1,64}){1,20}/?|(?<![\w/.~])[~.]{0,2}/\w[\w.-]{0,64}"
        ),
        _slashes,
    ),
    (re.compile(r"::"), " "),
    (re.compile(r" ?[·] ?"), f"{PAUSE} "),
]
"""After the numbers."""
