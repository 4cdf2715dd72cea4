"""The sections `policy` and `approvals`, and the options of the built-in checks."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from antiphon.engines.config import option
from antiphon.pipeline.config.errors import nearest
from antiphon.pipeline.config.tools import DOTTED, DottedPath

Words = tuple[Annotated[str, Field(min_length=1)], ...]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]


class PolicySection(BaseModel):
    """Base of what stands here: unknown keys are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())


class PatternOptions(PolicySection):
    """`pattern`: regular expressions."""

    patterns: Words = option(..., "Regular expressions; what any of them matches is acted on.", min_length=1)
    action: Literal["redact", "block"] = option(
        "redact", "Whether what matches is taken out, or the whole text is blocked."
    )
    replacement: str = option("[removed]", "What stands in place of a match; `\\1` is the first group.")
    line: str = option("", "Said in place of what was blocked; empty: `policy.blocked_line`.")
    ignore_case: bool = option(True, "Whether capital and small letters are the same.")

    @field_validator("patterns")
    @classmethod
    def _compile(cls, patterns: Words) -> Words:
        try:
            regex = importlib.import_module("regex")
        except ModuleNotFoundError:  # said, with the command that brings it, where the check is made
            return patterns
        for number, pattern in enumerate(patterns):
            try:
                regex.compile(pattern)
            except regex.error as error:
                raise ValueError(f"pattern {number} is no regular expression: {error}") from None
        return patterns


class PiiOptions(PolicySection):
    """`pii`: takes out personal data, by form and check digits."""

    cards: bool = option(True, "Card numbers: 13 to 19 digits whose check digit is right (Luhn).")
    ibans: bool = option(True, "Account numbers (IBAN) whose check digits are right.")
    phones: bool = option(True, "Telephone numbers that exist in their country's plan.")
    emails: bool = option(True, "E-mail addresses.")
    names: Words = option((), "Names to take out, as whole words in any case.")
    national: Words = option(
        (),
        "National numbers to take out, as country.number of python-stdnum.",
        examples=[["us.ssn", "de.idnr"]],
    )
    long_numbers: int = option(
        0, "Any number of at least so many digits goes, whatever it is; 0: none.", unit="digits", ge=0, le=100
    )
    region: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = option(
        "US", "Country (ISO 3166) of telephone numbers without a country code; null: such numbers are left."
    )
    digit_words: dict[str, Annotated[str, Field(pattern=r"^[0-9]{1,3}$")]] = option(
        {}, "Further words for digits, as spoken word to digits; English, German, French and Spanish are known."
    )
    replacement: str = option("[{kind}]", "What stands in place; {kind} is 'card number', 'name' and the like.")
    replacements: dict[str, str] = option(
        {}, "The same by kind: card, iban, phone, email, name, number, or a name in `national`."
    )

    @field_validator("digit_words")
    @classmethod
    def _small_letters(cls, words: dict[str, str]) -> dict[str, str]:
        return {word.casefold(): digits for word, digits in words.items()}


class MaxLengthOptions(PolicySection):
    """`max_length`: of what the user says, of a tool's arguments, of a whole answer."""

    chars: int | None = option(None, "At most so many characters; null: any.", unit="characters", ge=1)
    words: int | None = option(None, "At most so many words; null: any.", unit="words", ge=1)
    action: Literal["block", "cut"] = option(
        "block", "What is longer is blocked, or cut after the last word that fits. An answer ends there."
    )
    line: str = option("", "Said in place of what was blocked; empty: `policy.blocked_line`.")

    @model_validator(mode="after")
    def _some_limit(self) -> MaxLengthOptions:
        if self.chars is None and self.words is None:
            raise ValueError("needs 'chars' or 'words'")
        return self


class LanguageOptions(PolicySection):
    """`language`: which languages may be spoken."""

    allow: tuple[Language, ...] = option(..., "The languages (ISO 639-1).", min_length=1)
    line: str = option("", "Said in place of what was blocked; empty: `policy.blocked_line`.")
    min_chars: int = option(
        24,
        "Shorter text is let through unless the recogniser named its language: nobody can tell.",
        unit="characters",
        ge=1,
    )
    min_probability: float = option(
        0.8, "Another language counts only if it is at least so likely; below, the text is let through.", ge=0, le=1
    )


class TopicOptions(PolicySection):
    """`topic`: what may be talked about, judged by a language model or a classifier of your own."""

    allow: dict[str, str] = option(
        {}, "Topics that may be talked about, as short name to a description; with any, all else is blocked."
    )
    deny: dict[str, str] = option({}, "Topics that are blocked, as short name to a description.")
    line: str = option("", "Said in place of what was blocked; empty: `policy.blocked_line`.")
    classifier: DottedPath | None = option(
        None,
        "A dotted path to `async def classify(text, topics) -> name`, or null: the session's LLM. `topics` maps each "
        "name to its description; a name that is not in it counts as none of them.",
    )

    @model_validator(mode="after")
    def _some_topic(self) -> TopicOptions:
        if not self.allow and not self.deny:
            raise ValueError("needs 'allow' or 'deny'")
        if both := sorted(self.allow.keys() & self.deny.keys()):
            raise ValueError(f"'{both[0]}' is in 'allow' and in 'deny'")
        return self


class ToolsOptions(PolicySection):
    """`tools`: which tools may be called."""

    allow: Words | None = option(None, "The only tools that may be called; null: any.")
    deny: Words = option((), "Tools that may not be called.")


class ApproveOptions(PolicySection):
    """`approve`: somebody has to say yes first."""

    question: str = option(
        "Shall I go ahead?",
        "What is asked; {tool} is the tool's name, {name} one of its arguments.",
        examples=["Shall I transfer {amount} euros to {to}?"],
    )
    tools: Words = option((), "Gate `tool_call`: ask for these tools only; empty: for all.")
    by: Literal["voice", "desk", "any"] = option(
        "any", "Who decides: the user by voice, somebody at the desk (API, command line, callback), or who is first."
    )
    wait_s: float | None = option(
        None, "How long the answer is waited for; null: `approvals.timeout_s`.", unit="s", gt=0, le=86_400
    )
    on_timeout: Literal["refuse", "grant"] | None = option(
        None, "What holds when nobody answers; null: `approvals.on_timeout`."
    )
    line: str = option("", "Said after a no at the gates `transcript` and `speech`; empty: `policy.blocked_line`.")


CHECK_OPTIONS: dict[str, type[PolicySection]] = {
    "pattern": PatternOptions,
    "pii": PiiOptions,
    "topic": TopicOptions,
    "max_length": MaxLengthOptions,
    "language": LanguageOptions,
    "tools": ToolsOptions,
    "approve": ApproveOptions,
}
"""The built-in checks, by name."""

OWN_KEYS = ("check", "timeout_s", "on_failure", "failure_line")


class CheckConfig(PolicySection):
    """One check of a gate; its own options stand beside these keys. Its name alone is enough where it needs none."""

    model_config = ConfigDict(extra="allow")

    check: str = option(
        ...,
        f"A built-in check ({', '.join(CHECK_OPTIONS)}), or a dotted path `module:Name` to a class (made with the "
        "other keys as arguments), an object or a function of your own.",
    )
    timeout_s: float = option(2.0, "How long it may take; then it has failed.", unit="s", gt=0, le=60)
    on_failure: Literal["closed", "open"] | None = option(
        None,
        "What its failure means: `closed` blocks, `open` lets through. null: `open` at the gate `turn`, else `closed`.",
    )
    failure_line: str = option("", "Said if it fails closed; empty: `policy.blocked_line`.")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, data: Any) -> Any:
        return {"check": data} if isinstance(data, str) else data

    @field_validator("check")
    @classmethod
    def _known_or_dotted(cls, name: str) -> str:
        if name in CHECK_OPTIONS or re.fullmatch(DOTTED, name):
            return name
        allowed = f"allowed: {', '.join(CHECK_OPTIONS)}, or a path 'module:Name'"
        raise ValueError(f"no check of that name ({allowed}){nearest(name, CHECK_OPTIONS)}")

    @model_validator(mode="after")
    def _options_fit(self) -> CheckConfig:
        self.built_in_options()
        return self

    @property
    def own_options(self) -> dict[str, Any]:
        """What the check itself is given."""
        return dict(self.model_extra or {})

    def built_in_options(self) -> PolicySection | None:
        """The validated options of a built-in check; None for one of the user's own.

        :raises ValueError: with all that is wrong, in words.
        """
        model = CHECK_OPTIONS.get(self.check)
        if model is None:
            return None
        try:
            return model.model_validate(self.own_options)
        except ValidationError as error:
            raise ValueError("; ".join(_words(error, model))) from None


def _words(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """What is wrong with a check's options, each with the option's name."""
    known = (*OWN_KEYS, *model.model_fields)
    said = []
    for details in error.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(str(part) for part in details["loc"])
        if details["type"] == "extra_forbidden":
            options = ", ".join(model.model_fields)
            said.append(f"'{place}' is no option here{nearest(place, known)}; known: {options}")
        elif details["type"] == "missing":
            said.append(f"'{place}' is missing: {model.model_fields[place].description}")
        else:
            message = details["msg"].removeprefix("Value error, ")
            said.append(f"'{place}': {message}" if place else message)
    return said


class SpeechPolicy(PolicySection):
    """The gate on what is about to be spoken."""

    hold: Literal["sentence", "full"] = option(
        "sentence",
        "`sentence`: each sentence is judged, and spoken once it is let through; checks that only take out pieces "
        "(`pii`) do without whole sentences. `full`: no audio is made before the whole answer is let through.",
    )
    checks: tuple[CheckConfig, ...] = option((), "The checks, in order.")


class PolicyKeys(PolicySection):
    """What may be heard, done and said: four gates, each a list of checks."""

    transcript: tuple[CheckConfig, ...] = option((), "Checks on what the user said, before the agent sees it.")
    tool_call: tuple[CheckConfig, ...] = option((), "Checks on a tool call before it runs.")
    speech: SpeechPolicy = SpeechPolicy()
    turn: tuple[CheckConfig, ...] = option((), "Checks on the whole answer, after it was given.")
    blocked_line: str = option(
        "I'm sorry, I can't talk about that.", "Said where a check blocks and names no line of its own."
    )

    @field_validator("turn")
    @classmethod
    def _asks_nobody(cls, turn: tuple[CheckConfig, ...]) -> tuple[CheckConfig, ...]:
        if any(check.check == "approve" for check in turn):
            raise ValueError(
                "`approve` cannot be used here: after the answer was given there is nothing to hold back; write it "
                "under policy.speech.checks, with `hold: full` for the whole answer"
            )
        return turn


class ApprovalKeys(PolicySection):
    """How questions are decided that policy or a tool asks."""

    store: Path | None = option(
        None,
        "The file that keeps them; null: `$ANTIPHON_HOME/approvals.db`, or `~/.local/share/antiphon/approvals.db`.",
    )
    timeout_s: float = option(
        60.0, "How long an answer is waited for, where the question names no time.", unit="s", gt=0, le=86_400
    )
    on_timeout: Literal["refuse", "grant"] = option("refuse", "What holds when nobody answers in time.")
    poll_ms: float = option(
        200.0,
        "While a question is open, the store is looked at this often for what other processes decided.",
        unit="ms",
        ge=20,
        le=10_000,
    )
    unclear_line: str = option(
        "Sorry, was that a yes or a no?",
        "Asked once, after a spoken answer that is neither; then the question stays open for the desk, or is refused.",
    )
    waiting_line: str = option(
        "One moment please, I have to ask for approval.",
        "Said when only the desk can decide; empty: nothing is.",
    )
    callback: DottedPath | None = option(
        None,
        "A dotted path to `async def decide(approval)`, called for each question: true grants, false refuses, None "
        "leaves it open.",
    )
