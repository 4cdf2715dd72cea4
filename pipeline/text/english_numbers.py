"""English: dates, times, money, units, fractions and other numbers that voices read badly as they are written.

Plain numbers ("1,200", "3.5", "2nd", "50%") stay: every voice reads those. All patterns are bounded, so that the time
is linear.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = ("", "", *"twenty thirty forty fifty sixty seventy eighty ninety".split())
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip

NUMBER = r"(?:\d{1,3}(?:,\d{3}){1,6}|\d{1,18})(?:\.\d{1,12})?"
_FREE = r"(?<![\w.,:/-])(?<![\w][$€£¥₹])"
"""Nothing before it that makes it part of something longer."""

Rule = tuple[re.Pattern[str], "str | Callable[[re.Match[str]], str]"]


def words_below_hundred(number: int) -> str:
    """ "zero" to "ninety-nine"."""
    if number < 20:
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")


def ordinal_below_hundred(number: int) -> str:
    """ "first" to "ninety-ninth"."""
    irregular = {1: "first", 2: "second", 3: "third", 5: "fifth", 8: "eighth", 9: "ninth", 12: "twelfth"}
    tens, ones = divmod(number, 10)
    if number in irregular:
        return irregular[number]
    if number < 20:
        return f"{_ONES[number]}th"
    return f"{_TENS[tens]}-{ordinal_below_hundred(ones)}" if ones else f"{_TENS[tens][:-1]}ieth"


# ---------------------------------------------------------------------------- dates and times


def _iso_date(found: re.Match[str]) -> str:
    year, month, day = (int(found.group(index)) for index in (1, 2, 3))
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return found.group()
    hour, minute = found.group(4), found.group(5)
    time = f" at {int(hour)}:{minute}" if hour and int(hour) < 24 else ""
    return f"{MONTHS[month - 1]} {day}, {year}{time}"


def _slash_date(day_first: bool) -> Callable[[re.Match[str]], str]:
    def spoken(found: re.Match[str]) -> str:
        first, second, year = (int(found.group(index)) for index in (1, 2, 3))
        day, month = (first, second) if day_first else (second, first)
        if month > 12:
            day, month = month, day
        if not (1 <= month <= 12 and 1 <= day <= 31):
            return found.group()
        return f"{MONTHS[month - 1]} {day}, {year if year > 99 else 2000 + year}"

    return spoken


def _time(found: re.Match[str]) -> str:
    hour, minute, second = int(found.group(1)), int(found.group(2)), found.group(3)
    half = found.group(4) or ""
    if hour > 24:
        return found.group()
    if second:
        spoken = f"{hour}:{minute:02}" if minute > 9 else f"{hour} {f'oh {minute}' if minute else 'hundred'}"
        return f"{spoken} and {int(second)} seconds"
    if half:
        half = f" {half.strip().replace('.', '').upper()}" + ("." if half.endswith(".") and _is_last(found) else "")
    if minute == 0:
        return f"{hour}{half}" if half else ("midnight" if hour in (0, 24) else f"{hour} o'clock")
    return f"{hour} oh {minute}{half}" if minute < 10 else f"{hour}:{minute:02}{half}"


def _half_day(found: re.Match[str]) -> str:
    return f"{found.group(1)} {found.group(2).upper()}M" + ("." if _is_last(found) else "")


def _is_last(found: re.Match[str]) -> bool:
    return not found.string[found.end() :].strip(" \n\"')")


def _decade(found: re.Match[str]) -> str:
    century, tens = found.group(1), int(found.group(2))
    plural = f"{_TENS[tens][:-1]}ies" if tens > 1 else ("tens" if tens else "hundreds")
    if century == "20" and tens == 0:
        return "two thousands"
    if not century:
        return plural if tens > 1 else found.group()
    return f"{words_below_hundred(int(century))} {plural}"


def _spoken_year(year: str) -> str:
    """ "1883" as "eighteen eighty-three"; years from 2000 on are read well as numbers."""
    century, rest = int(year[:2]), int(year[2:])
    if century >= 20:
        return year
    last = "hundred" if rest == 0 else (words_below_hundred(rest) if rest > 9 else f"oh {_ONES[rest]}")
    return f"{words_below_hundred(century)} {last}"


def _year(found: re.Match[str]) -> str:
    return found.group(1) + _spoken_year(found.group(2))


def _years(found: re.Match[str]) -> str:
    lead, first, joint, second = found.groups()
    return f"{lead or ''}{_spoken_year(first)}{' to ' if joint.strip() in '-–' else joint}{_spoken_year(second)}"


_MONTH = "|".join([*MONTHS, *(f"{month[:3]}\\.?" for month in MONTHS), "Sept\\.?"])
_YEAR_BEFORE = (
    rf"(?:\b(?:[Ii]n|[Ss]ince|[Uu]ntil|[Cc]irca|[Yy]ear|[Bb]y|[Dd]uring|[Ff]rom|early|late|mid|of) |"
    rf"\b(?:{_MONTH}),? (?:\d{{1,2}}(?:st|nd|rd|th)?,? )?|\()"
)
_YEAR_AFTER = (
    r"(?=[.,;:!?)\"']{0,4}(?:$|\s(?:and|or|to|by|with|when|as|after|before|until|the|in|at|on|for|but|he|she|it|they|"
    r"was|were|is|a)\b)|[,.;:!?)]\s)"
)


# ---------------------------------------------------------------------------- money and units

_MONEY = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"),
}
_SCALE = {"k": "thousand", "m": "million", "b": "billion", "bn": "billion", "t": "trillion"}
_SCALES = r"(?: ?(thousand|million|billion|trillion)\b| ?(k|K|M|m|B|bn|T)(?![\w]))?"


def _amount(symbol: str, number: str, scale: str) -> str:
    one, many, small_one, small_many = _MONEY[symbol]
    if scale:
        return f"{number} {_SCALE.get(scale.casefold(), scale)} {many}"
    whole, _, part = number.partition(".")
    if len(part) != 2 or not small_many:
        return f"{number} {one if number == '1' else many}"
    cents = int(part)
    small = f"{cents} {small_one if cents == 1 else small_many}"
    big = f"{whole} {one if whole == '1' else many}"
    if not cents:
        return big
    return small if whole.strip("0") == "" else f"{big} and {small}"


def _money_before(found: re.Match[str]) -> str:
    sign, symbol, number, word, letter, per = found.groups()
    spoken = _amount(symbol, number, word or letter or "")
    return ("minus " if sign else "") + spoken + (f" per {per}" if per else "")


def _money_range(found: re.Match[str]) -> str:
    symbol, low, high, word, letter = found.groups()
    return f"{low} to {_amount(symbol, high, word or letter or '')}"


def _money_after(found: re.Match[str]) -> str:
    return _amount(found.group(2), found.group(1), "")


_UNITS = {
    "km/h": "kilometer* per hour", "kph": "kilometer* per hour", "mph": "mile* per hour",
    "m/s": "meter* per second", "m/s²": "meter* per second squared", "km": "kilometer*", "m": "meter*",
    "cm": "centimeter*", "mm": "millimeter*", "nm": "nanometer*", "μm": "micrometer*", "km²": "square kilometer*",
    "m²": "square meter*", "cm²": "square centimeter*", "m³": "cubic meter*", "cm³": "cubic centimeter*",
    "ft²": "square feet", "sq ft": "square feet", "sq. ft.": "square feet", "mi": "mile*", "ft": "feet",
    "ft.": "feet", "yd": "yard*", "kg": "kilogram*", "g": "gram*", "mg": "milligram*", "μg": "microgram*",
    "lb": "pound*", "lbs": "pound*", "lbs.": "pound*", "oz": "ounce*", "oz.": "ounce*", "L": "liter*",
    "l": "liter*", "ml": "milliliter*", "mL": "milliliter*", "cl": "centiliter*", "tsp": "teaspoon*",
    "tbsp": "tablespoon*", "°C": "degree* Celsius", "°F": "degree* Fahrenheit", "° C": "degree* Celsius",
    "° F": "degree* Fahrenheit", "KB": "kilobyte*", "kB": "kilobyte*", "MB": "megabyte*", "GB": "gigabyte*",
    "TB": "terabyte*", "KiB": "kibibyte*", "MiB": "mebibyte*", "GiB": "gibibyte*", "kbps": "kilobit* per second",
    "Mbps": "megabit* per second", "Gbps": "gigabit* per second", "MB/s": "megabyte* per second",
    "GB/s": "gigabyte* per second", "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz",
    "W": "watt*", "kW": "kilowatt*", "MW": "megawatt*", "kWh": "kilowatt hour*", "V": "volt*", "mA": "milliamp*",
    "mAh": "milliamp hour*", "ms": "millisecond*", "μs": "microsecond*", "sec": "second*", "min": "minute*",
    "hr": "hour*", "hrs": "hour*", "h": "hour*", "dB": "decibel*", "kcal": "kilocalorie*", "kPa": "kilopascal*",
    "hPa": "hectopascal*", "rpm": "R P M", "fps": "frames per second", "px": "pixel*", "ha": "hectare*",
}  # fmt: skip
_SINGULAR = {"feet": "foot", "square feet": "square foot"}
_UNIT = "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True))


def _unit(found: re.Match[str]) -> str:
    number, joint, unit = found.groups()
    one = number == "1" or joint == "-"
    spoken = _UNITS[unit].replace("*", "" if one else "s")
    spoken = _SINGULAR.get(spoken, spoken) if one else spoken
    return f"{number} {spoken}" + ("." if unit.endswith(".") and _is_last(found) else "")


# ---------------------------------------------------------------------------- fractions, ranges, phones


def _fraction(found: re.Match[str]) -> str:
    whole, top, bottom = found.group(1), int(found.group(2)), int(found.group(3))
    lead = f"{whole} and " if whole else ""
    if bottom in (10, 100) and not whole:
        return f"{top} out of {bottom}"
    if not 2 <= bottom <= 20 or top >= bottom or top == 0:
        return f"{lead}{top} {'over ' if whole else ''}{bottom}"
    if bottom in (2, 4):
        name = {2: "half", 4: "quarter"}[bottom]
    else:
        name = ordinal_below_hundred(bottom)
    if top == 1:
        return f"{lead}{'a' if whole and bottom in (2, 4) else 'one'} {name}"
    return f"{lead}{_ONES[top]} {name}s"


def _phone(found: re.Match[str]) -> str:
    groups = re.findall(r"\d+", found.group())
    plus = "plus " if found.group().startswith("+") else ""
    return plus + ", ".join(" ".join(group) for group in groups)


def _power_of_ten(found: re.Match[str]) -> str:
    number, sign, power = found.groups()
    return f"{number} times 10 to the {'minus ' if sign == '-' else ''}{power}"


def _dotted_numbers(found: re.Match[str]) -> str:
    return found.group().replace(".", " dot ")


PHONE_RULES: list[Rule] = [
    (re.compile(r"(?<![\w+.,-])\+\d{1,3}(?:[ .-]?\(?\d{1,5}\)?){2,6}(?![\w-])(?!\.\d)"), _phone),
    (re.compile(r"(?<![\w+.,-])(?:1[ .-])?\(?\d{3}\)?[ .-]\d{3}[.-]\d{4}(?![\w-])(?!\.\d)"), _phone),
    (re.compile(r"(?<![\w+.,-])[2-9]\d{2}-\d{4}(?![\w-])(?!\.\d)"), _phone),
]
"""In any language: digit by digit, as a phone number is said."""


def number_rules(day_first: bool) -> list[Rule]:
    """The rules in order; `day_first`: 3/4/2026 is the third of April."""
    end = r"(?![\w])(?![.,]\d)"
    return [
        (
            re.compile(
                r"(?<![\w-])(\d{4})-(\d{2})-(\d{2})"
                r"(?:[T ](\d{2}):(\d{2})(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2})?)?(?![\w-])"
            ),
            _iso_date,
        ),
        (re.compile(rf"{_FREE}(\d{{1,2}})/(\d{{1,2}})/(\d{{4}}|\d{{2}})(?![\w/-])"), _slash_date(day_first)),
        *PHONE_RULES,
        (re.compile(rf"([$€£¥₹]) ?({NUMBER}) ?[-–] ?[$€£¥₹]?({NUMBER}){_SCALES}{end}"), _money_range),
        (re.compile(rf"(-?)(?:US|AU?|CA?)?([$€£¥₹]) ?({NUMBER}){_SCALES}(?:/(\w{{2,12}}))?{end}"), _money_before),
        (re.compile(rf"{_FREE}({NUMBER}) ?([$€£¥₹])(?![\w])"), _money_after),
        (
            re.compile(rf"{_FREE}(\d{{1,2}}):([0-5]\d)(?::([0-5]\d))?( ?[AaPp](?:\.[Mm]\.|[Mm]\b))?(?![\w:])(?!\.\d)"),
            _time,
        ),
        (re.compile(r"(?<![\w.,:])(\d{1,2}) ?([AaPp])\.[Mm]\.(?!\w)"), _half_day),
        (re.compile(rf"{_FREE}(\d{{1,4}}):(?![0-5]\d(?!\d))(\d{{1,4}})(?![\w:])(?!\.\d)"), r"\1 to \2"),
        (re.compile(r"(?<![\w.,:/-])(?:(\d{1,4}) )?(\d{1,3})/(\d{1,3})(?![\w/])(?!\.\d)"), _fraction),
        (re.compile(r"(?<![\w.,:-])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])"), _dotted_numbers),
        (re.compile(r"(?<![\w.])[vV](?=\d{1,4}\.\d|\d{1,2}\b(?! ?[\w%]))"), "version "),
        (re.compile(r"(?<!\w)(1[1-9]|20)(\d)0'?s\b"), _decade),
        (re.compile(r"(?<![\w.,$€£])()'?([2-9])0'?s\b"), _decade),
        (re.compile(r"(?<![\w.,/-])()(1[1-9]\d\d)( ?[-–] ?)(1[1-9]\d\d|20\d\d)(?![\w/-])"), _years),
        (re.compile(r"\b([Ff]rom |[Bb]etween )(1[1-9]\d\d)( to | and )(1[1-9]\d\d|20\d\d)\b"), _years),
        (re.compile(rf"({_YEAR_BEFORE})(1[1-9]\d\d){_YEAR_AFTER}"), _year),
        (re.compile(rf"(?<![\w.,-])({NUMBER})(%?) ?– ?(?=-?\d)"), r"\1\2 to "),
        (
            re.compile(rf"(?<![\w.,-])({NUMBER})(%?)-(?={NUMBER}(?![\w-]|[.,]\d)|{NUMBER} ?(?:{_UNIT})(?!\w))"),
            r"\1\2 to ",
        ),
        (re.compile(rf"(?<![\w,])(?<!\d\.)(-?{NUMBER})( ?|-)({_UNIT})(?!\w)"), _unit),
        (re.compile(r"(?<![\w.,])(\d{1,6})(?: ?x ?|×)(?=\d)"), r"\1 by "),
        (re.compile(r"(?<![\w])(\d{1,6}(?:\.\d{1,4})?)[x×](?!\w)"), r"\1 times"),
        (re.compile(r"(?<![\w.])\.(?=\d)"), "0."),
        (re.compile(r"(?<![\w.])(\d{1,2})'(\d{1,2})\""), r"\1 foot \2"),
        (re.compile(r"(?<![\w.])(\d{1,6}(?:\.\d{1,12})?)[eE]([+-]?)(\d{1,3})(?!\w)"), _power_of_ten),
    ]
