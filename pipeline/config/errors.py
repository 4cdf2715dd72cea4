"""Problems of a configuration: collected, placed, and shown all at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from antiphon.pipeline.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a key or a value was written."""

    file: str
    """As a user would name it; "--set" for an override on the command line."""
    line: int | None = None
    """From 1."""

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where."""

    message: str
    origin: Origin
    key: str = ""
    """Key path, for example "stt.compute_type" or "stt.1.model"."""
    hint: str = ""

    def __str__(self) -> str:
        line = ": ".join(part for part in (str(self.origin), self.key, self.message) if part)
        return f"{line}\n    {self.hint}" if self.hint else line


class InvalidConfig(ConfigError):
    """Raised when a configuration has problems; `problems` has them all, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        first = problems[0]
        super().__init__(first.message, file=first.origin.file, line=first.origin.line, key=first.key, hint=first.hint)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        listed = "\n".join(str(problem) for problem in self.problems)
        return listed if len(self.problems) == 1 else f"{len(self.problems)} problems:\n{listed}"


def in_file_order(problems: Iterable[Problem]) -> list[Problem]:
    """File by file in the order in which they came up, each from top to bottom."""
    listed = list(problems)
    files = list(dict.fromkeys(problem.origin.file for problem in listed))
    return sorted(listed, key=lambda problem: (files.index(problem.origin.file), problem.origin.line or 0))


def nearest(name: str, choices: Iterable[str]) -> str:
    """ "; did you mean 'x'?", or nothing when no choice is near."""
    known = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(name.lower(), list(known), 1, 0.6)
    return f"; did you mean '{known[near[0]]}'?" if near else ""
