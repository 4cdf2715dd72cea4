"""The built-in checks but "pii": patterns, length, language, tools, approval."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from antiphon.pipeline.config.policy import (
    ApproveOptions,
    LanguageOptions,
    MaxLengthOptions,
    PatternOptions,
    PiiOptions,
    PolicySection,
    ToolsOptions,
    TopicOptions,
)
from antiphon.pipeline.policy.checks import Check
from antiphon.pipeline.policy.extras import needs
from antiphon.pipeline.policy.pii import PiiCheck
from antiphon.pipeline.policy.topic import TopicCheck
from antiphon.pipeline.policy.verdicts import Allow, Ask, Block, Rewrite, Subject, Verdict

_SEARCH_S = 0.5
"""One pattern may look at one text for so long: a pattern that backtracks without end must not stop the session."""


class PatternCheck:
    """Regular expressions, with the engine of the package `regex`, which can be stopped."""

    def __init__(self, options: PatternOptions) -> None:
        """:raises PolicyError: the package is not installed."""
        regex = needs("regex", "regex")
        flags = regex.IGNORECASE if options.ignore_case else 0
        self._patterns = [regex.compile(pattern, flags) for pattern in options.patterns]
        self._options = options

    async def check(self, subject: Subject) -> Verdict:
        # In a thread: the package lets go of the interpreter while it searches, so a slow pattern stops no audio.
        return await asyncio.to_thread(self._apply, subject.text)

    def _apply(self, text: str) -> Verdict:
        changes = 0
        for number, pattern in enumerate(self._patterns):
            if self._options.action == "block":
                if pattern.search(text, timeout=_SEARCH_S):
                    return Block(self._options.line, f"pattern {number}")
            else:
                text, count = pattern.subn(self._options.replacement, text, timeout=_SEARCH_S)
                changes += count
        return Rewrite(text, f"{changes} removed") if changes else Allow()


class MaxLengthCheck:
    """Characters or words; of an answer, what was let through before counts too."""

    def __init__(self, options: MaxLengthOptions) -> None:
        self._options = options

    async def check(self, subject: Subject) -> Verdict:
        options = self._options
        kept = subject.text
        if options.chars is not None:
            kept = _first_chars(kept, max(0, options.chars - len(subject.before)))
        if options.words is not None:
            kept = _first_words(kept, max(0, options.words - len(subject.before.split())))
        if kept.rstrip() == subject.text.rstrip():
            return Allow()
        if options.action == "cut" and kept.strip():
            return Rewrite(kept, "cut")
        return Block(options.line, "too long")


def _first_chars(text: str, count: int) -> str:
    if len(text.rstrip()) <= count:
        return text
    words = text[: count + 1]
    if not words[-1:].isspace():
        words = words.rpartition(" ")[0]
    return words.rstrip()


def _first_words(text: str, count: int) -> str:
    found = list(re.finditer(r"\S+", text))
    return text if len(found) <= count else (text[: found[count - 1].end()] if count else "")


class LanguageCheck:
    """The recogniser's word for what the user said, and `py3langid` for text."""

    def __init__(self, options: LanguageOptions) -> None:
        """:raises PolicyError: the package is not installed."""
        self._options = options
        langid = needs("py3langid.langid", "py3langid")
        self._classify = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True).classify

    async def check(self, subject: Subject) -> Verdict:
        options = self._options
        if subject.gate == "transcript" and subject.language:
            language, probability = subject.language.partition("-")[0], 1.0
        elif len(subject.text.strip()) < options.min_chars:
            return Allow("too short to tell")
        else:
            language, probability = self._classify(subject.text)
        if language in options.allow or probability < options.min_probability:
            return Allow(language)
        return Block(options.line, language)


class ToolsCheck:
    """Which tools may be called."""

    def __init__(self, options: ToolsOptions) -> None:
        self._options = options

    async def check(self, subject: Subject) -> Verdict:
        listed = self._options.allow
        if subject.tool in self._options.deny or (listed is not None and subject.tool not in listed):
            return Block("", "not an allowed tool")
        return Allow()


class ApproveCheck:
    """Somebody has to say yes."""

    def __init__(self, options: ApproveOptions) -> None:
        self._options = options

    async def check(self, subject: Subject) -> Verdict:
        options = self._options
        if options.tools and subject.tool not in options.tools:
            return Allow()
        return Ask(
            fill_in(options.question, subject),
            by=options.by,
            timeout_s=options.wait_s,
            on_timeout=options.on_timeout,
            line=options.line,
        )


def fill_in(question: str, subject: Subject) -> str:
    """A question with the call's arguments in it; a name in braces that is none of them stays as it is."""
    values: dict[str, Any] = {}
    if subject.gate == "tool_call":
        arguments = json.loads(subject.text)
        values = dict(arguments) if isinstance(arguments, Mapping) else {}
    values["tool"] = subject.tool
    return re.sub(r"\{(\w+)\}", lambda found: str(values.get(found.group(1), found.group())), question)


BUILT_IN: Mapping[str, tuple[type[PolicySection], Callable[[Any], Check]]] = {
    "pattern": (PatternOptions, PatternCheck),
    "pii": (PiiOptions, PiiCheck),
    "topic": (TopicOptions, TopicCheck),
    "max_length": (MaxLengthOptions, MaxLengthCheck),
    "language": (LanguageOptions, LanguageCheck),
    "tools": (ToolsOptions, ToolsCheck),
    "approve": (ApproveOptions, ApproveCheck),
}
"""Name to options and maker."""
