"""Characters: what no voice can say is taken out, what only looks different is made plain. Linear, never raises."""

from __future__ import annotations

import re
import unicodedata

URL_MARK = "\ue000"
LEXICON_MARK = "\ue001"
PAUSE = "\ue002"
"""Private characters (taken out of the input): a protected URL, a lexicon's word, a pause that becomes a comma or
nothing."""

_SPOKEN_SYMBOLS = "°"
_MAPPED = {
    "\u00a0": " ", "\u202f": " ", "\u2007": " ", "\u2028": "\n", "\u2029": "\n\n", "\t": " ", "\r": "\n", "\f": "\n",
    "\v": "\n", "\u0085": "\n", "‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "‟": '"',
    "«": '"', "»": '"', "‹": '"', "›": '"', "「": '"', "」": '"', "『": '"', "』": '"', "′": "'", "″": '"', "−": "-",
    "‐": "-", "‑": "-", "‒": "–", "―": "—", "﹣": "-", "℃": "°C", "℉": "°F", "№": "No. ", "⁄": "/", "…": "...",
    "µ": "μ", "⋅": "·", "∙": "·",
    "½": " 1/2", "⅓": " 1/3", "⅔": " 2/3", "¼": " 1/4", "¾": " 3/4", "⅕": " 1/5", "⅛": " 1/8", "⅜": " 3/8", "⅝": " 5/8",
    "⅞": " 7/8", "（": PAUSE, "）": PAUSE,
    "→": PAUSE, "←": PAUSE, "⇒": PAUSE, "➜": PAUSE, "➔": PAUSE, "⟶": PAUSE, "•": PAUSE,
    "‣": PAUSE, "◦": PAUSE, "▪": PAUSE, "●": PAUSE, "■": PAUSE,
}  # fmt: skip
_DROPPED = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "So", "Me"))


class _Table(dict[int, str | None]):
    """A translation table that fills itself."""

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        value: str | None = char
        if 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF or 0x1F3FB <= code <= 0x1F3FF:
            value = None
        elif char not in _SPOKEN_SYMBOLS and unicodedata.category(char) in _DROPPED:
            value = None
        self[code] = value
        return value


_TABLE = _Table({ord(char): text for char, text in _MAPPED.items()})
_TABLE[0x0A] = "\n"
_TABLE[0x200C] = (
    "\u200c"  # joiners: part of the spelling of Persian and the scripts of India; elsewhere taken out below
)
_TABLE[0x200D] = "\u200d"
_BARE_JOINER = re.compile(
    r"(?<![\u0600-\u08ff\u0900-\u0dff])[\u200c\u200d]|[\u200c\u200d](?![\u0600-\u08ff\u0900-\u0dff])"
)
_EMOJI = re.compile(r"[#*0-9]\ufe0f?\u20e3")
_SPACES = re.compile(r" {2,}")
_LINES = re.compile(r"\n(?: ?\n)+")


def clean(text: str) -> str:
    """Plain quotes, spaces and lines; no control characters, emoji, private or unassigned characters.

    Runs of spaces and of empty lines become one, so that later rules need not fear long ones.
    """
    if not text.isascii() and "\u20e3" in text:
        text = _EMOJI.sub(lambda found: found.group()[0], text)
    text = text.replace("\r\n", "\n").translate(_TABLE)
    if not text.isascii():
        text = _BARE_JOINER.sub("", text)
    return _LINES.sub("\n\n", _SPACES.sub(" ", text))


_LINE_END = re.compile(r"(\S?) ?\n[ \n]*")
_ELLIPSIS = re.compile(r"\.{2,} ?(?=(\S?))")
_MARKS = re.compile(rf"( ?)([.,;:?!{PAUSE}](?: ?[.,;:?!{PAUSE}])*)( ?)")
_KEPT_PAIRS = frozenset((".,", ".;", ".:", ".?", ".!"))


def tidy(text: str) -> str:
    """Pauses become commas where no mark is, marks are said once, lines are joined, white space is single."""
    text = _LINE_END.sub(_end_line, text)
    text = _SPACES.sub(" ", text).strip()
    text = _ELLIPSIS.sub(_end_ellipsis, text)
    return _MARKS.sub(_one_mark, text).strip()


def _end_line(found: re.Match[str]) -> str:
    last = found.group(1)
    if found.end() == len(found.string):
        return last
    return f"{last}. " if last and last not in f".,;:?!-{PAUSE}。！？、，；：" else f"{last} "


def _end_ellipsis(found: re.Match[str]) -> str:
    following = found.group(1)
    if not following:
        return "..."
    if following.islower():
        return PAUSE
    return ". " if following.isalnum() else "."


def _one_mark(found: re.Match[str]) -> str:
    before, run, after = found.groups()
    text = found.string
    following = text[found.end() : found.end() + 1]
    glued = following.isalnum() and not after and run[-1] != PAUSE
    if found.start() == 0:
        return run[-1] if glued and run[-1] == "." else ""
    marks = run.replace(PAUSE, "").replace(" ", "")
    if not marks:
        return ", " if following and text[found.start() - 1] not in "。！？、，；：" else ""
    if marks == "..." and not following:
        return marks
    if len(run) == 1:
        return found.group() if glued or not before else run + after
    return _strongest(marks) + (" " if following and not glued and (after or len(marks) < len(run)) else "")


def _strongest(marks: str) -> str:
    if marks in _KEPT_PAIRS:
        return marks
    return next(mark for mark in "?!.:;," if mark in marks)
