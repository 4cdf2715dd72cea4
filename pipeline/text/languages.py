"""What is said in languages other than English: few rules, and only safe ones. Voices read numbers themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass

from antiphon.pipeline.text.english_numbers import PHONE_RULES, Rule


@dataclass(frozen=True, slots=True)
class Words:
    """A language's words for what is left out or written with a sign; "" where the sign stays as it is."""

    ampersand: str = ""
    range: str = ""
    celsius: str = ""
    km_per_hour: str = ""
    code_note: str = ""
    """Said once, in place of code."""


WORDS: dict[str, Words] = {
    "en": Words("and", "to", "degrees Celsius", "kilometers per hour", "There is code in the text."),
    "de": Words("und", "bis", "Grad Celsius", "Kilometer pro Stunde", "Der Code steht im Text."),
    "es": Words("y", "a", "grados Celsius", "kilómetros por hora", "El código está en el texto."),
    "fr": Words("et", "à", "degrés Celsius", "kilomètres heure", "Le code se trouve dans le texte."),
    "it": Words("e", "a", "gradi Celsius", "chilometri orari", "Il codice è nel testo."),
    "nl": Words("en", "tot", "graden Celsius", "kilometer per uur", "De code staat in de tekst."),
    "pt": Words("e", "a", "graus Celsius", "quilômetros por hora", "O código está no texto."),
}
_UNKNOWN = Words()

_MONEY_BEFORE = re.compile(r"(-?)([$€£¥₹]) ?(\d{1,3}(?:[.,' ]\d{3}){1,6}(?:[.,]\d{1,2})?|\d{1,18}(?:[.,]\d{1,6})?)")


def words_of(language: str | None) -> Words:
    """The words of a language code; empty ones for a language that is not listed, or not known."""
    return WORDS.get(language or "", _UNKNOWN)


def neutral_rules(language: str | None) -> list[Rule]:
    """The rules of a language other than English, in order."""
    words = words_of(language)
    rules: list[Rule] = [*PHONE_RULES, (_MONEY_BEFORE, r"\1\3 \2")]
    if words.range:
        rules.append((re.compile(r"(?<![\w.,-])(\d{1,12}(?:[.,]\d{1,6})?)(%?) ?– ?(?=\d)"), rf"\1\2 {words.range} "))
        rules.append((re.compile(r"(?<![\w.,:/-])(\d{1,4})-(?=\d{1,4}(?![\w/-]|[.,:]\d))"), rf"\1 {words.range} "))
        rules.append((re.compile(r"(?<=\d) ?° ?C\b"), f" {words.celsius}"))
        rules.append((re.compile(r"(?<=\d) ?km/h\b"), f" {words.km_per_hour}"))
        rules.append((re.compile(r" ?& ?"), f" {words.ampersand} "))
    rules.append((re.compile(r"#(?=\w)|(?<!\S)~(?=\d)"), ""))
    rules.append((re.compile(r"(?<=[^\W\d_]{3})/(?=[^\W\d_]{3})"), " "))
    return rules
