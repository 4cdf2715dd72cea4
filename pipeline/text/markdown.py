"""Takes markdown and HTML out of a text, piece by piece; a code block or a link may span pieces. Linear.

What a reader's eye gets from layout becomes a line break here, which :func:`~antiphon.pipeline.text.clean.tidy` turns
into a pause. A mark without its partner is dropped alone: it swallows no text. (But an unclosed code block runs to the
end, as everywhere.)
"""

from __future__ import annotations

import html
import re

from antiphon.pipeline.text.clean import PAUSE, clean

_FENCE = re.compile(
    r"(?:> ?)*(?:[-*+] )? *(`{3,}|~{3,}) *[\w+#.:/-]{0,40}(?: *\{[^`\n]{0,200}|(?: +[\w-]{1,40}=[^`\n]{0,200})?) *"
)
_RULE = re.compile(r" *(?:[-_*=] ?){3,}")
_LINK_DEFINITION = re.compile(r" *\[[^\[\]]{1,100}\]: *(?:<|https?://|/|#)\S*.*")
_QUOTE = re.compile(r" *(?:> ?)+(?=\S|$)")
_HEADING = re.compile(r" *#{1,6} +(.*?)(?: #{1,6})? *")
_BULLET = re.compile(r" *[-*+–] +(?:\[[ xX]\] )?")
_CHECKBOX = re.compile(r" *\[[ xX]\] ")
_NUMBER = re.compile(r" *(\d{1,3})[.)] +(?=\S)")

_DESTINATION = r"[^()\s]{0,2000}(?:\([^()\s]{0,100}\)[^()\s]{0,200})?(?: \"[^\"\n]{0,200}\")?"
_IMAGE = re.compile(rf"!\[([^\[\]\n]{{0,300}})\]\({_DESTINATION}\)")
_LINK = re.compile(rf"\[([^\[\]\n]{{0,500}})\]\({_DESTINATION}\)")
_REFERENCE = re.compile(r"(?<=\[)([^\[\]\n]{1,500})\]\[[^\[\]\n]{0,100}\]")
_CITATION = re.compile(r" ?\[\^?\d{1,3}(?:[,–-] ?\d{1,3}){0,5}\]|【[^【】\n]{0,60}†[^【】\n]{0,60}】")
_TARGET = re.compile(r"\]\([^()\s]{0,2000}\)")
_OPEN_TARGET = re.compile(r"\]\([^()\s]{0,2000}$")
_REST_OF_TARGET = re.compile(r"[^()\s]{0,2000}\)?")
_AUTOLINK = re.compile(r"<((?:https?://|mailto:)[^<>\s]{1,2000}|[^<>\s@]{1,64}@[^<>\s@]{1,255})>")
_COMMENT = re.compile(r"<!--|-->")
_ATTRIBUTES = r"(?:\s[^<>=]{1,100}=[^<>]{0,400})? ?/?"
_BREAK_TAG = re.compile(
    rf"</?(?:br|p|li|ul|ol|div|tr|table|h[1-6]|hr|blockquote|pre|section|article){_ATTRIBUTES}>", re.I
)
_TAG = re.compile(
    r"</?(?:a|abbr|b|big|button|center|cite|code|del|details|dd|dfn|dl|dt|em|font|i|img|input|ins|kbd|label|main|mark|"
    r"nav|q|s|samp|script|small|span|strike|strong|style|sub|summary|sup|tbody|td|th|thead|tt|u|var|wbr)"
    rf"{_ATTRIBUTES}>",
    re.I,
)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_MATH = re.compile(r"(?<![\w$])\$([^\s\d$][^$\n]{0,100})\$(?![\w$])")
_MATH_FENCE = re.compile(r"\\[()\[\]]|\$\$")
_FRACTION = re.compile(r"\\d?frac\{([^{}]{1,60})\}\{([^{}]{1,60})\}")
_ROOT = re.compile(r"\\sqrt\{([^{}]{1,60})\}")
_COMMAND = re.compile(r"\\([a-zA-Z]{2,20})(?![a-zA-Z])")
_COMMANDS = {
    "times": "×", "cdot": "×", "div": "÷", "leq": "≤", "le": "≤", "geq": "≥", "ge": "≥", "neq": "≠", "ne": "≠",
    "approx": "≈", "pm": "±", "to": "→", "rightarrow": "→", "left": "", "right": "", "text": "", "mathrm": "",
    "quad": " ", "circ": "°",
}  # fmt: skip
_ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+.!|~<>$&=-])")
_CELL = re.compile(r" ?\|+ ?")


class Markdown:
    """One reply's markdown. Call :meth:`strip` on its pieces in order.

    :param code_note: said once, in place of the first code block; "" for nothing.
    """

    def __init__(self, code_note: str) -> None:
        self._note = code_note
        self._fence = ""
        self._new_line = True
        self._in_target = False

    def strip(self, piece: str) -> str:
        """A piece without its markup. Line breaks that are left are pauses.

        :param piece: cleaned text: no carriage returns, no long runs of spaces.
        """
        lines = piece.split("\n")
        kept: list[str] = []
        wraps = False
        for index, line in enumerate(lines):
            begins = index > 0 or self._new_line
            text, block = self._line(line, begins)
            if text is None:
                wraps = False
                continue
            if kept:
                kept.append(" " if wraps and not block and text.strip() else "\n")
            elif begins and block:
                kept.append("\n")
            kept.append(text)
            wraps = bool(text.strip()) and not block
        self._new_line = len(lines[-1].strip()) == 0 and (len(lines) > 1 or self._new_line)
        return self._inline("".join(kept))

    # ------------------------------------------------------------------------ lines

    def _line(self, line: str, begins: bool) -> tuple[str | None, bool]:
        """A line without its block markup (None: it says nothing), and whether it stands by itself."""
        if begins and (fence := _FENCE.fullmatch(line)):
            return self._at_fence(fence.group(1), line)
        if self._fence:
            return None, True
        if not begins:
            return line, False
        if _RULE.fullmatch(line) or _is_table_rule(line) or _LINK_DEFINITION.fullmatch(line):
            return None, True
        if quote := _QUOTE.match(line):
            line = line[quote.end() :]
        if heading := _HEADING.fullmatch(line):
            return heading.group(1), True
        if line.lstrip().startswith("|"):
            return line.strip().strip("|"), True
        for mark in (_BULLET, _CHECKBOX):
            if found := mark.match(line):
                return line[found.end() :], True
        if found := _NUMBER.match(line):
            return f"{found.group(1)}. {line[found.end() :]}", True
        return line, False

    def _at_fence(self, marks: str, line: str) -> tuple[str | None, bool]:
        if not self._fence:
            self._fence = marks
            note, self._note = self._note, ""
            return (note or None), True
        if marks[0] == self._fence[0] and len(marks) >= len(self._fence) and line.strip(" >").strip(marks[0]) == "":
            self._fence = ""
        return None, True

    # ------------------------------------------------------------------------ within lines

    def _inline(self, text: str) -> str:
        if self._in_target:
            rest = _REST_OF_TARGET.match(text)
            assert rest is not None
            self._in_target = rest.end() == len(text) and not rest.group().endswith(")")
            text = text[rest.end() :]
        if "\\" in text:
            text = _unescape(text)
        if "<" in text or "-->" in text:
            text = _AUTOLINK.sub(r"\1", text)
            text = _TAG.sub("", _BREAK_TAG.sub("\n", _COMMENT.sub("", text)))
        if "&" in text:
            text = _ENTITY.sub(lambda found: clean(html.unescape(found.group())), text)
        if "$" in text:
            text = _MATH.sub(r"\1", text)
        if "[" in text or "]" in text or "【" in text:
            text = self._without_links(text)
        return _CELL.sub(", ", text) if "|" in text else text

    def _without_links(self, text: str) -> str:
        text = _LINK.sub(r"\1", _IMAGE.sub(r"\1", text))
        text = _CITATION.sub("", _REFERENCE.sub(r"\1]", text))
        text = _TARGET.sub("", text)
        if opened := _OPEN_TARGET.search(text, max(0, len(text) - 2100)):
            self._in_target = True
            text = text[: opened.start()]
        return text.replace("[", "").replace("]", "").replace("【", PAUSE).replace("】", PAUSE)


def _is_table_rule(line: str) -> bool:
    """The line under a table's head: |---|:-:|."""
    return "|" in line and "-" in line and not line.strip(" |:+-")


def _unescape(text: str) -> str:
    text = _FRACTION.sub(r"\1 / \2", _MATH_FENCE.sub("", text))
    text = _COMMAND.sub(lambda found: _COMMANDS.get(found.group(1), found.group(1)), _ROOT.sub(r"√ \1 ", text))
    return _ESCAPE.sub(r"\1", text)


_CODE_MARKS = re.compile(r"`+")
_STRIKE = re.compile(r"~~+")
_MULTIPLY = re.compile(r"(?<=[0-9]) ?\* ?(?=[0-9])|(?<=\b\w) \* (?=\w\b)")
_POWER = re.compile(r"(?<=[0-9])\*\*(?=[0-9])")
_STARS = re.compile(r"\*+")
_UNDERSCORES = re.compile(r"_+")
_HIGHLIGHT = re.compile(r"(?<!\S)==(?=\S)|(?<=\S)==(?!\S)")


def strip_emphasis(text: str) -> str:
    """Take out emphasis and code marks, matched or not. "2 * 3" stays a product; "snake_case" becomes two words."""
    if "`" in text:
        text = _CODE_MARKS.sub("", text)
    if "~" in text:
        text = _STRIKE.sub("", text)
    if "*" in text:
        text = _STARS.sub("", _MULTIPLY.sub(" × ", _POWER.sub("^", text)))
    if "==" in text:
        text = _HIGHLIGHT.sub("", text)
    if "_" in text:
        text = _UNDERSCORES.sub(_underscores, text)
    return text


def _underscores(found: re.Match[str]) -> str:
    """Between two letters or digits a space, else nothing."""
    text, start, end = found.string, found.start(), found.end()
    inside = start > 0 and end < len(text) and text[start - 1].isalnum() and text[end].isalnum()
    return " " if inside else ""
