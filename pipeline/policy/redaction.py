"""Takes pieces out of a text as it comes, so that no border between two deltas hides one.

The text is cut into *segments*: chains of tokens that may belong together, such as the groups of a card number, or the
two words of a name. Whether two tokens that follow one another belong together is seen from these two alone, and a
piece never spans two segments; so the result depends on the text alone, and a segment is settled as soon as the token
after it is known, mostly one word later, and at once after a full stop or a comma.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

_TOKEN = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a text that has to go."""

    start: int
    end: int
    kind: str


class Joint(Protocol):
    """Which tokens belong together."""

    def may_go_on(self, token: str) -> bool:
        """Whether anything that could follow belongs to this token."""
        ...

    def joins(self, token: str, following: str) -> bool:
        """Whether these two belong together. Implies `may_go_on(token)`."""
        ...


Find = Callable[[str], Sequence[Span]]
"""One segment -> the pieces in it, the more important first where they overlap."""


@dataclass(slots=True)
class SegmentRedactor:
    """A :class:`~antiphon.pipeline.policy.checks.Redactor` for one text."""

    joint: Joint
    find: Find
    replace: Callable[[Span], str]
    found: dict[str, int] = field(default_factory=dict)
    held: str = ""

    def push(self, text: str) -> str:
        self.held += text
        return self._settle(final=False)

    def finish(self) -> str:
        return self._settle(final=True)

    def _settle(self, *, final: bool) -> str:
        settled: list[str] = []
        start = 0
        for end in self._ends(final):
            settled.append(self._redacted(self.held[start:end]))
            start = end
        self.held = self.held[start:]
        return "".join(settled)

    def _ends(self, final: bool) -> list[int]:
        """Where settled segments end. White space belongs to the segment after it."""
        text = self.held
        ends: list[int] = []
        before: re.Match[str] | None = None
        for token in _TOKEN.finditer(text):
            is_whole = final or token.end() < len(text)
            if before is not None:
                if not self.joint.may_go_on(before.group()):
                    ends.append(before.end())
                elif not is_whole:
                    return ends
                elif not self.joint.joins(before.group(), token.group()):
                    ends.append(before.end())
            before = token
        if final:
            return [*ends, len(text)]
        if before is not None and before.end() < len(text) and not self.joint.may_go_on(before.group()):
            ends.append(before.end())
        return ends

    def _redacted(self, segment: str) -> str:
        kept: list[str] = []
        at = 0
        for span in without_overlaps(self.find(segment)):
            kept += [segment[at : span.start], self.replace(span)]
            at = span.end
            self.found[span.kind] = self.found.get(span.kind, 0) + 1
        return "".join([*kept, segment[at:]])


def without_overlaps(spans: Sequence[Span]) -> list[Span]:
    """The spans in the order of the text. Of two that overlap the first named stays, grown to cover both."""
    merged: list[Span] = []
    for span in spans:
        kind, start, end = span.kind, span.start, span.end
        rest: list[Span] = []
        for other in merged:
            if other.start < end and start < other.end:
                kind, start, end = other.kind, min(start, other.start), max(end, other.end)
            else:
                rest.append(other)
        merged = [*rest, Span(start, end, kind)]
    return sorted(merged, key=lambda span: span.start)
