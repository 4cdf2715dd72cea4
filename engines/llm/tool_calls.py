"""Finds tool calls in what a model writes, while it writes, and keeps them out of what is spoken.

Understood, whatever the model's own syntax is, because small models mix them: JSON between tags (`<tool_call>`,
`<tools>`, `<function_call>`, `[TOOL_CALLS]`, `<|python_tag|>`, `<function=NAME>`), a bare JSON object or list that
names a known tool, and either of these in a code fence. JSON that is nearly right (quotes, commas, missing braces) is
repaired.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from antiphon.engines.llm.nearly_json import as_json, load_json

TAGS: Mapping[str, str] = {
    "<tool_call>": "</tool_call>",
    "<tool_calls>": "</tool_calls>",
    "<toolcall>": "</toolcall>",
    "<tools>": "</tools>",
    "<function_call>": "</function_call>",
    "<|tool_call|>": "<|/tool_call|>",
    "<|python_tag|>": "",
    "[TOOL_CALLS]": "",
    "<function=": "</function>",
}
"""Opening tag to closing tag ("": none)."""

_CANDIDATE = re.compile(r"[<{\[`]")
_FENCE = re.compile(r"```[A-Za-z_]*\s*")
_NAME_KEYS = ("name", "function", "tool", "tool_name", "function_name")
_ARGUMENT_KEYS = ("arguments", "parameters", "args", "params", "input", "arguments_json")
_FIRST_KEYS = (*_NAME_KEYS, *_ARGUMENT_KEYS, "type", "id", "tool_call", "function_call")
_MOST_TRIES = 32
"""JSON values of an answer that are looked into for a call; with more, no call is to be expected."""
_AFTER_CALL = " \t\r\n,;`]}"
"""What may follow a call's JSON and means nothing: small models close one brace too many."""


@dataclass(frozen=True, slots=True)
class ParsedCall:
    """A call of a known tool."""

    name: str
    arguments: str
    """A JSON object as text."""


@dataclass(frozen=True, slots=True)
class BadCall:
    """Something that was meant as a call and cannot be used."""

    reason: str
    """One sentence without the model's text, fit for a log."""


Piece = str | ParsedCall | BadCall

_Verdict = tuple[Literal["more", "no", "tag", "json"], int, str]
"""(what begins here, length of what to skip before the body, closing tag)."""
_MORE: _Verdict = ("more", 0, "")
_NO: _Verdict = ("no", 0, "")


class ToolCallParser:
    """Splits streamed text into text to speak and tool calls. Any chunking of a text gives the same pieces.

    :param names: the tools that exist; with none, tagged calls are still kept out of the text, and JSON is text. None:
        everything is text.
    :param plain: nothing but valid JSON is a call; nothing is repaired.
    """

    def __init__(self, names: Collection[str] | None, *, plain: bool = False) -> None:
        self._off = names is None
        self._plain = plain
        self._names = tuple(names or ())
        self._buffer = ""
        self._state: Literal["text", "marked", "after"] = "text"
        self._close = ""
        self._opening = ""
        self._ended = False
        self._truncated = False
        self._tries = 0

    @property
    def marked(self) -> tuple[str, str] | None:
        """While inside a tagged call: (the opening tag, what was written after it so far); else None."""
        return (self._opening, self._buffer) if self._state == "marked" else None

    def feed(self, text: str) -> list[Piece]:
        if self._off:
            return [text] if text else []
        self._buffer += text
        return self._run()

    def finish(self, *, truncated: bool = False) -> list[Piece]:
        """The rest. `truncated`: the answer was cut by its length, so a half-written call must not run."""
        self._ended, self._truncated = True, truncated
        return self._run()

    def _run(self) -> list[Piece]:
        out: list[Piece] = []
        steps = {"text": self._in_text, "marked": self._in_marked, "after": self._after_call}
        while self._buffer and steps[self._state](out):
            continue
        if self._ended and self._state == "marked" and not self._buffer:
            out.append(BadCall("a tool call was begun and not written"))
            self._state = "text"
        return out

    # ---------------------------------------------------------------- states: True if there is more to do at once

    def _in_text(self, out: list[Piece]) -> bool:
        match = _CANDIDATE.search(self._buffer)
        if match is None:
            self._emit(out, len(self._buffer))
            return False
        self._emit(out, match.start())
        kind, skip, close = _begins(self._buffer, bare=bool(self._names) and self._tries < _MOST_TRIES)
        if kind == "more" and not self._ended:
            return False
        if kind == "tag":
            self._opening = self._buffer[:skip]
            self._buffer = self._buffer[skip:]
            self._state, self._close = "marked", close
            return bool(self._buffer) or self._ended
        if kind == "json":
            end = _value_end(self._buffer, skip, "")
            if end is None and not self._ended:
                return False
            calls = self._calls(self._buffer[skip:end], "")
            if calls and not (end is None and self._truncated):
                out.extend(calls)
                self._buffer = self._buffer[end:] if end is not None else ""
                self._state, self._close = "after", ""
                return True
            if calls:
                out.append(BadCall("a tool call was cut off by the answer's maximum length"))
                self._buffer = ""
                return False
            self._tries += 1
        self._emit(out, 1)
        return True

    def _in_marked(self, out: list[Piece]) -> bool:
        body = self._buffer
        start = _json_start(body)
        closing = body.find(self._close) if self._close else -1
        if closing >= 0 and (start is None or closing < start):
            out.append(BadCall("a tool call holds no JSON object"))
            self._leave(closing + len(self._close), "text")
            return True
        end = _value_end(body, start, self._close) if start is not None else None
        if end is None:
            if self._ended:
                out.extend(self._last_chance(body, start))
                self._leave(len(body), "text")
            return False
        lead = body[:start]
        out.extend(self._calls(body[start:end], _name_before(lead)) or [self._unusable(body[start:end], lead)])
        self._leave(end, "after")
        return True

    def _after_call(self, out: list[Piece]) -> bool:
        rest = self._buffer.lstrip(_AFTER_CALL)
        self._buffer = rest
        if not rest:
            return False
        if self._close and rest.startswith(self._close):
            self._leave(len(self._close), "after")
            self._close = ""
        elif self._close and self._close.startswith(rest) and not self._ended:
            return False
        elif self._close and rest[0] in "{[":
            self._state = "marked"
        else:
            self._state = "text"
        return True

    # ---------------------------------------------------------------- helpers

    def _emit(self, out: list[Piece], size: int) -> None:
        text, self._buffer = self._buffer[:size], self._buffer[size:]
        if not text:
            return
        if out and isinstance(out[-1], str):
            out[-1] += text
        else:
            out.append(text)

    def _leave(self, size: int, state: Literal["text", "after"]) -> None:
        self._buffer = self._buffer[size:]
        self._state = state

    def _last_chance(self, body: str, start: int | None) -> list[Piece]:
        if self._truncated:
            return [BadCall("a tool call was cut off by the answer's maximum length")]
        if start is None:
            return [BadCall("a tool call holds no JSON object")]
        calls = self._calls(body[start:], _name_before(body[:start]))
        return list(calls) if calls else [self._unusable(body[start:], body[:start])]

    def _calls(self, value: str, name: str) -> list[ParsedCall]:
        """The calls of known tools in a JSON value; empty if there are none."""
        loaded = load_json(value, repair=not self._plain)
        found: list[ParsedCall] = []
        for item in loaded if isinstance(loaded, list) else [loaded]:
            call = self._call(item, name)
            if call is not None:
                found.append(call)
        return found

    def _call(self, item: Any, name: str) -> ParsedCall | None:
        named, arguments = _name_and_arguments(item, name)
        known = known_name(named, self._names)
        if known is None:
            return None
        if isinstance(arguments, str):
            arguments = load_json(arguments) if arguments.strip() else {}
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict):
            return None
        written = as_json(arguments)
        return None if written is None else ParsedCall(known, written)

    def _unusable(self, value: str, lead: str) -> BadCall:
        named, _ = _name_and_arguments(load_json(value), _name_before(lead))
        if known_name(named, self._names) is None:
            return BadCall("a tool call names no known tool")
        return BadCall("a tool call's arguments are no JSON object")


def known_name(name: str, names: Collection[str]) -> str | None:
    """The tool that `name` means: exactly, or but for case, hyphens, or a "functions." in front."""
    if name in names:
        return name

    def plain(text: str) -> str:
        return re.sub(r"[^a-z0-9]+", "_", text.lower().removeprefix("functions.")).strip("_")

    same = [known for known in names if plain(known) == plain(name)]
    return same[0] if name and len(same) == 1 else None


def _begins(text: str, *, bare: bool) -> _Verdict:
    """What begins at the first character of `text`, which is one of `<`, `{`, `[`, a back-tick.

    :param bare: JSON without tags can be a call, too.
    """
    for tag, close in TAGS.items():
        if text.startswith(tag):
            return "tag", len(tag), close
        if tag.startswith(text):
            return _MORE
    if not bare or text[0] == "<":
        return _NO
    return _fenced(text) if text[0] == "`" else _bare_json(text, 0)


def _fenced(text: str) -> _Verdict:
    if "```".startswith(text):
        return _MORE
    fence = _FENCE.match(text)
    if fence is None:
        return _NO
    if fence.end() == len(text):
        return _MORE
    if text[fence.end()] in "{[":
        return _bare_json(text, fence.end())
    if text[fence.end()] == "<":
        kind, skip, close = _begins(text[fence.end() :], bare=True)
        return kind, skip + fence.end() if kind == "tag" else 0, close
    return _NO


def _bare_json(text: str, start: int) -> _Verdict:
    """Whether the JSON value at `start` begins as a call does: its first key decides."""
    opening = re.compile(r"(?:\[\s*)?(?:\{\s*)?").match(text, start)
    assert opening is not None  # every part of the pattern is optional
    if opening.end() == len(text):
        return _MORE
    quote = text[opening.end()]
    if "{" not in opening.group() or quote not in "\"'":
        return _NO
    key = text[opening.end() + 1 :]
    for candidate in _FIRST_KEYS:
        whole = candidate + quote
        if key.startswith(whole):
            return "json", start, ""
    if any((candidate + quote).startswith(key) for candidate in _FIRST_KEYS):
        return _MORE
    return _NO


def _json_start(body: str) -> int | None:
    """Where the JSON value of a tagged call begins; `[ARGS]` between name and value is no list."""
    for match in re.finditer(r"[{\[]", body):
        if body.startswith("[ARGS]", match.start()):
            continue
        if "[ARGS]".startswith(body[match.start() :]) and len(body) - match.start() > 1:
            return None
        return match.start()
    return None


def _value_end(text: str, start: int, close: str) -> int | None:
    """Index behind the JSON value that begins at `start`, or of `close` if that comes first; None: not there yet."""
    depth, quote, escaped = 0, "", False
    for index in range(start, len(text)):
        char = text[index]
        if close and char == close[0] and text.startswith(close, index):
            return index
        if quote:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == quote:
                quote = ""
        elif char == '"' or (char == "'" and text[index - 1] in "{[,: \t\n"):
            quote = char
        elif char in "{[":
            depth += 1
        elif char in "}]":
            depth -= 1
            if depth == 0:
                return index + 1
    return None


def _name_before(lead: str) -> str:
    """A tool's name between an opening tag and the JSON (`<function=NAME>{`, `[TOOL_CALLS]NAME[ARGS]{`), or ""."""
    match = re.search(r"([\w.-]+)\s*(?:>|\[ARGS\])?\s*$", lead)
    return match.group(1) if match and match.group(1).lower() != "json" else ""


def _name_and_arguments(item: Any, name: str) -> tuple[str, Any]:
    if not isinstance(item, dict):
        return "", None
    for wrapper in ("function", "tool_call", "function_call"):
        if isinstance(item.get(wrapper), dict):
            item = item[wrapper]
    if name and not any(key in item for key in _ARGUMENT_KEYS):
        return name, item
    named = next((item[key] for key in _NAME_KEYS if isinstance(item.get(key), str)), name)
    arguments = next((item[key] for key in _ARGUMENT_KEYS if key in item), None)
    return named, arguments
