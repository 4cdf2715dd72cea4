"""What became of one turn, and what one may expect of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from antiphon.engines.protocols import Usage

_ANYTHING: Mapping[str, Any] = {}


class Unexpected(AssertionError):
    """Raised when a turn is not as expected; the message shows what was expected and the whole turn."""


@dataclass(slots=True)
class Call:
    """A tool call that the workflow told of."""

    id: str
    name: str
    arguments: dict[str, Any]
    """Empty where the model wrote no JSON object; see `raw`."""
    raw: str = ""
    """As the model wrote them."""
    output: str | None = None
    """None: no result came."""

    def __str__(self) -> str:
        output = "" if self.output is None else f" -> {_short(self.output)}"
        return f"{self.name}({json.dumps(self.arguments, ensure_ascii=False)}){output}"


@dataclass(slots=True)
class Approval:
    """A call that waited for a yes."""

    name: str
    arguments: dict[str, Any]
    granted: bool

    def __str__(self) -> str:
        verdict = "granted" if self.granted else "refused"
        return f"{self.name}({json.dumps(self.arguments, ensure_ascii=False)}): {verdict}"


@dataclass(slots=True)
class Turn:
    """One question and its answer. Each `expect_...` returns the turn, so that they can be chained."""

    number: int
    user: str
    """What the user said; for audio, what was heard."""
    text: str = ""
    """The answer."""
    calls: list[Call] = field(default_factory=list)
    approvals: list[Approval] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    first_ms: float | None = None
    """From the end of the question to the first text of the answer; for audio, to its first sound."""
    total_ms: float = 0.0
    error: str = ""
    """Why the turn failed; empty: it did not."""

    def __str__(self) -> str:
        lines = [f"turn {self.number}", f"  user:      {self.user}", f"  assistant: {self.text or '(nothing)'}"]
        lines += [f"  call:      {call}" for call in self.calls]
        lines += [f"  approval:  {approval}" for approval in self.approvals]
        if self.first_ms is not None:
            lines.append(f"  first:     {self.first_ms:.0f} ms")
        if self.error:
            lines.append(f"  error:     {self.error}")
        return "\n".join(lines)

    # ---------------------------------------------------------------------------- expectations

    def expect_text(self, *contains: str, excludes: str | tuple[str, ...] = (), matches: str = "") -> Turn:
        """The answer has all of these words (any case), none of those, and matches that regular expression somewhere.

        :raises Unexpected: it does not.
        """
        said = _plain(self.text)
        for words in contains:
            if _plain(words) not in said:
                self._fail(f"an answer with {words!r}")
        for words in (excludes,) if isinstance(excludes, str) else excludes:
            if _plain(words) in said:
                self._fail(f"an answer without {words!r}")
        if matches and re.search(matches, self.text, re.IGNORECASE) is None:
            self._fail(f"an answer that matches /{matches}/")
        return self

    def expect_heard(self, *contains: str) -> Turn:
        """What was understood of the user's speech has all of these words.

        :raises Unexpected: it does not.
        """
        heard = _plain(self.user)
        for words in contains:
            if _plain(words) not in heard:
                self._fail(f"to hear {words!r}")
        return self

    def expect_call(self, name: str, arguments: Mapping[str, Any] = _ANYTHING, /, **more: Any) -> Turn:
        """That tool was called with these arguments; others that are not named here do not matter.

        Text is compared without case; numbers by value; `/.../` is a regular expression for the argument's text.

        :raises Unexpected: it was not called, or with other arguments.
        """
        wanted = {**arguments, **more}
        named = [call for call in self.calls if call.name == name]
        if not named:
            self._fail(f"a call of {name}")
        if not any(not differences(wanted, call.arguments) for call in named):
            odd = "; ".join(differences(wanted, named[-1].arguments))
            self._fail(f"a call {name}({json.dumps(wanted, ensure_ascii=False, default=str)}): {odd}")
        return self

    def expect_no_calls(self, *names: str) -> Turn:
        """No tool was called; with names: none of those.

        :raises Unexpected: one was.
        """
        for call in self.calls:
            if not names or call.name in names:
                self._fail(f"no call of {call.name}" if names else "no tool call")
        return self

    def expect_approval(self, name: str, *, granted: bool | None = None) -> Turn:
        """A call of that tool waited for a yes, and was granted or refused.

        :raises Unexpected: it did not, or the verdict was the other.
        """
        verdicts = [approval.granted for approval in self.approvals if approval.name == name]
        if not verdicts:
            self._fail(f"that {name} has to be approved")
        if granted is not None and granted not in verdicts:
            self._fail(f"that {name} was {'granted' if granted else 'refused'}")
        return self

    def expect_no_approvals(self) -> Turn:
        """Nothing had to be approved.

        :raises Unexpected: something had.
        """
        if self.approvals:
            self._fail("that nothing has to be approved")
        return self

    def expect_within(self, first_ms: float) -> Turn:
        """The answer began in time.

        :raises Unexpected: it began later, or never.
        """
        if self.first_ms is None or self.first_ms > first_ms:
            self._fail(f"the answer to begin within {first_ms:g} ms")
        return self

    def expect_ok(self) -> Turn:
        """The turn did not fail.

        :raises Unexpected: it did.
        """
        if self.error:
            self._fail("a turn without an error")
        return self

    def _fail(self, expected: str) -> None:
        raise Unexpected(f"expected {expected}\n{self}")


def differences(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """How `given` is not as wanted, in words; keys that are not wanted do not matter."""
    found = []
    for key, value in wanted.items():
        if key not in given:
            found.append(f"{key} is missing")
        elif not _same(value, given[key]):
            found.append(f"{key} is {given[key]!r}, not {value!r}")
    return found


def _same(wanted: Any, given: Any) -> bool:
    if isinstance(wanted, str) and len(wanted) > 1 and wanted[0] == wanted[-1] == "/":
        return re.search(wanted[1:-1], str(given), re.IGNORECASE) is not None
    if isinstance(wanted, Mapping):
        return isinstance(given, Mapping) and not differences(wanted, given)
    if isinstance(wanted, list | tuple):
        return isinstance(given, list) and len(wanted) == len(given) and all(map(_same, wanted, given))
    if isinstance(wanted, bool) or isinstance(given, bool):
        return wanted is given
    if isinstance(wanted, int | float) and not isinstance(given, str):
        return bool(wanted == given)
    return _plain(str(wanted)) == _plain(str(given))


def parsed(raw: str) -> dict[str, Any]:
    """A call's arguments; empty where they are no JSON object."""
    try:
        value = json.loads(raw or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _plain(text: str) -> str:
    return " ".join(text.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split())


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:120]}..."
