"""Scenarios: conversations with expectations, in YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from antiphon.engines.config import option
from antiphon.pipeline.config.errors import InvalidConfig, Origin, Problem, in_file_order
from antiphon.pipeline.config.fields import value_of
from antiphon.pipeline.config.tree import Items, Node, Scalar, Section, parse

SUFFIXES = (".scenario.yaml", ".scenario.yml")
"""How the files of scenarios end."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Words = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_listed)]
"""One text or a list of them."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CallSpec(_Part):
    """A tool call that has to happen."""

    name: str = option(..., "The tool.", min_length=1)
    arguments: dict[str, Any] = option({}, "Arguments that it must have; others do not matter. `/.../`: a pattern.")


class ApprovalSpec(_Part):
    """A question that has to be asked."""

    name: str = option(..., "The tool.", min_length=1)
    granted: bool | None = option(None, "How it was decided; null: either.")


class Expectations(_Part):
    """What one turn must be like."""

    contains: Words = option((), "Words of the answer, in any case.")
    excludes: Words = option((), "Words that must not be in the answer.")
    matches: str = option("", "A regular expression that is found in the answer.")
    heard: Words = option((), "Words that were understood of the user's speech.")
    calls: tuple[CallSpec, ...] = option((), "Tool calls that happened, in any order; more may have.")
    no_calls: bool | Words = option(False, "No tool was called; a list: none of these.")
    approvals: tuple[ApprovalSpec, ...] = option((), "Calls that waited for a yes.")
    within_ms: float | None = option(
        None, "From the end of the question to the first text of the answer; after audio: to its first sound.", gt=0
    )
    judge: Words = option((), "Statements about the answer that a language model finds true.")
    error: bool = option(False, "The turn has to fail.")


class TurnSpec(_Part):
    """What the user says, in one of three ways, and what is expected then."""

    say: str | None = option(None, "Text; neither STT nor TTS is used.", min_length=1)
    speak: str | None = option(None, "Text that the configured TTS speaks; the whole pipeline hears it.", min_length=1)
    wav: Path | None = option(None, "A recording, relative to the scenario; the whole pipeline hears it.")
    expect: Expectations = Expectations()

    @model_validator(mode="after")
    def _one_way(self) -> TurnSpec:
        if sum(way is not None for way in (self.say, self.speak, self.wav)) != 1:
            raise ValueError("a turn needs exactly one of: say, speak, wav")
        return self

    @property
    def is_audio(self) -> bool:
        return self.say is None


class ScenarioSpec(_Part):
    """The whole file."""

    name: str = option("", "Shown in reports; empty: the file's name.")
    config: str | None = option(None, "The configuration: a path from here, or a packaged one; null: `local.yaml`.")
    overrides: Words = option((), "`key.path=value`, over the configuration.", alias="set")
    approve: bool | dict[str, bool] = option(
        False, "What is answered where a tool call needs a yes: always the same, or by tool (others: no)."
    )
    judge_config: str | None = option(None, "The configuration whose LLM judges; null: the scenario's own.")
    turns: tuple[TurnSpec, ...] = option(..., "The conversation.")

    @field_validator("turns")
    @classmethod
    def _not_empty(cls, turns: tuple[TurnSpec, ...]) -> tuple[TurnSpec, ...]:
        if not turns:
            raise ValueError("a scenario needs at least one turn")
        return turns


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario that was read, and where each part of it stands."""

    path: Path
    spec: ScenarioSpec
    lines: dict[str, int] = field(repr=False)
    """Line by key path, as "turns.0.expect.contains"."""

    @property
    def name(self) -> str:
        return self.spec.name or self.path.stem.removesuffix(".scenario")

    def line(self, *keys: str | int) -> int:
        """The line of a place, or of the nearest one above it that is written."""
        parts = [str(key) for key in keys]
        while parts:
            if (line := self.lines.get(".".join(parts))) is not None:
                return line
            parts.pop()
        return 1


def load_scenario(path: str | Path) -> Scenario:
    """Read a scenario.

    :raises InvalidConfig: with every problem, each with file, line and key path.
    """
    path = Path(path)
    problems: list[Problem] = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig([Problem(f"the scenario cannot be read: {error}", Origin(str(path)))]) from error
    tree = parse(text, str(path), path.parent, problems)
    if tree is None or problems:
        raise InvalidConfig(in_file_order(problems or [Problem("the scenario is empty", Origin(str(path)))]))
    lines: dict[str, int] = {}
    _note_lines(tree, "", lines)
    try:
        return Scenario(path, ScenarioSpec.model_validate(_texts(tree)), lines)
    except ValidationError as error:
        scenario = Scenario(path, ScenarioSpec.model_construct(), lines)
        found = [
            Problem(
                item["msg"].removeprefix("Value error, ").replace("valid tuple", "list"),
                Origin(str(path), scenario.line(*item["loc"])),
                ".".join(str(part) for part in item["loc"]),
            )
            for item in error.errors()
        ]
        raise InvalidConfig(in_file_order(found)) from None


_TEXT_KEYS = {"say", "speak", "wav", "name", "contains", "excludes", "matches", "heard", "judge", "config", "set"}
"""Keys whose plain scalars are text, also where they look like a number."""


def _texts(node: Node, is_text: bool = False) -> Any:
    if isinstance(node, Scalar):
        return node.text if is_text and node.value is not None else node.value
    if isinstance(node, Items):
        return [_texts(item, is_text) for item in node.items]
    return {
        key: value_of(entry.node) if key == "arguments" else _texts(entry.node, key in _TEXT_KEYS)
        for key, entry in node.entries.items()
    }


def _note_lines(node: Node, path: str, lines: dict[str, int]) -> None:
    def at(key: str | int) -> str:
        return f"{path}.{key}" if path else str(key)

    if isinstance(node, Section):
        for key, entry in node.entries.items():
            lines[at(key)] = entry.origin.line or 1
            _note_lines(entry.node, at(key), lines)
    elif isinstance(node, Items):
        for index, item in enumerate(node.items):
            lines[at(index)] = item.origin.line or 1
            _note_lines(item, at(index), lines)
