"""English numbers, spans and clock times as people say them, in digits. Pure; other languages pass unchanged."""

from __future__ import annotations

import re

_ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
         "seventeen eighteen nineteen").split()  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {word: value for value, word in enumerate(_ONES)} | {word: 10 * value for value, word in enumerate(_TENS, 2)}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_NUMBER_WORD = "|".join((*_VALUES, *_SCALES))
_RUN = re.compile(
    rf"\b(?:an?[ ]+(?:{'|'.join(_SCALES)})|{_NUMBER_WORD})\b"
    rf"(?:(?:(?:(?<=hundred)|(?<=thousand)|(?<=million))[ ]+and)?[ -]+(?:{_NUMBER_WORD})\b)*"
    rf"(?:[ ]+point(?:[ ]+(?:{'|'.join(_ONES[:10])})\b)+)?",
    re.IGNORECASE,
)
_LONE_ONE = re.compile(r"one", re.IGNORECASE)
_COUNTED = re.compile(r"[ -]+(?:hours?|minutes?|seconds?|days?|weeks?|percent|am\b|pm\b|o'?clock)", re.IGNORECASE)
_HALF_OF = {"hour": "minutes", "minute": "seconds"}
_CLOCK_PARTS = {"half past": 30, "quarter past": 15, "quarter to": -15}
_DIGITS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?|[+-]?\d+(?:\.\d+)?")


def in_digits(text: str) -> str:
    """The text with its numbers in digits: "twenty-five minutes" is "25 minutes".

    Half hours and minutes become whole smaller units ("an hour and a half" is "1 hour 30 minutes"), spoken clock times
    get their usual writing ("half past two in the afternoon" is "2:30 pm"). "One" alone is left where it may be a
    pronoun.
    """
    text = _RUN.sub(_as_digits, text)
    text = re.sub(r"\b(half|quarter) (?:an|of an) (hour|minute)\b", _part_of_a_unit, text, flags=re.IGNORECASE)
    text = re.sub(r"\ban? (hour|minute) and a (half|quarter)\b", _unit_and_part, text, flags=re.IGNORECASE)
    text = re.sub(r"\b(\d+) and a half (hour|minute)s?\b", _number_and_half, text, flags=re.IGNORECASE)
    text = re.sub(r"\b(\d+) and a half\b", r"\1.5", text, flags=re.IGNORECASE)
    text = re.sub(r"\b(?:a )?(half past|quarter past|quarter to) (\d{1,2})\b", _clock_part, text, flags=re.IGNORECASE)
    text = re.sub(r"\b(\d{1,2}) o'?clock\b", r"\1:00", text, flags=re.IGNORECASE)
    text = re.sub(r"\b(\d{1,2}(?::\d\d)?) in the morning\b", r"\1 am", text, flags=re.IGNORECASE)
    return re.sub(
        r"\b(\d{1,2}(?::\d\d)?) (?:in the (?:afternoon|evening)|at night)\b", r"\1 pm", text, flags=re.IGNORECASE
    )


def number(text: str) -> float | int | None:
    """The number that a text is, in digits or in words, with or without a percent sign; None: it is none."""
    plain = re.sub(r"\s*(?:%|per ?cent)$", "", text.strip(), flags=re.IGNORECASE)
    sign = -1 if re.match(r"minus\s", plain, re.IGNORECASE) else 1
    plain = re.sub(r"^minus\s+", "", plain, flags=re.IGNORECASE)
    if plain.lower() == "one":
        return sign
    plain = in_digits(plain)
    if not _DIGITS.fullmatch(plain):
        return None
    value = float(plain.replace(",", "")) * sign
    return int(value) if value.is_integer() else value


def numbers_in(text: str) -> set[float]:
    """All numbers that a text holds, in digits or in words."""
    return {float(found.replace(",", "")) for found in _DIGITS.findall(in_digits(text).replace("-", " "))}


def _as_digits(match: re.Match[str]) -> str:
    run = match.group()
    if _LONE_ONE.fullmatch(run) and not _COUNTED.match(match.string, match.end()):
        return run
    whole, _, fraction = run.lower().partition(" point ")
    parts: list[str] = []
    total = current = 0
    last = 0
    for word in re.split(r"[ -]+", whole):
        if word in ("and", "a", "an"):
            current = current or (1 if word != "and" else 0)
        elif word in _SCALES:
            scale = _SCALES[word]
            if scale == 100:
                current = max(current, 1) * 100
            else:
                total, current = total + max(current, 1) * scale, 0
            last = scale
        else:
            value = _VALUES[word]
            # "four fifteen", "nine eleven": two numbers side by side, not one.
            if last and last < 100 and not (last >= 20 and last % 10 == 0 and 0 < value < 10):
                parts.append(str(total + current))
                total = current = 0
            current += value
            last = value
    parts.append(str(total + current))
    digits = " ".join(parts)
    return digits + ("." + "".join(str(_VALUES[word]) for word in fraction.split()) if fraction else "")


def _part_of_a_unit(match: re.Match[str]) -> str:
    return f"{30 if match.group(1).lower() == 'half' else 15} {_HALF_OF[match.group(2).lower()]}"


def _unit_and_part(match: re.Match[str]) -> str:
    unit = match.group(1).lower()
    return f"1 {unit} {30 if match.group(2).lower() == 'half' else 15} {_HALF_OF[unit]}"


def _number_and_half(match: re.Match[str]) -> str:
    unit = match.group(2).lower()
    return f"{match.group(1)} {unit}s 30 {_HALF_OF[unit]}"


def _clock_part(match: re.Match[str]) -> str:
    minutes = int(match.group(2)) * 60 + _CLOCK_PARTS[match.group(1).lower()]
    minutes += 12 * 60 if minutes < 60 else 0  # a quarter to one is 12:45
    return f"{minutes // 60}:{minutes % 60:02d}"
