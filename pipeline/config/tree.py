"""YAML text to a tree in which every key and value knows where it was written.

Plain scalars follow the YAML 1.2 core schema: `no`, `on` and `10:30` are text, not a boolean or a number. Whether text
or the typed value is meant is decided by the field that a scalar lands in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from antiphon.pipeline.config.errors import InvalidConfig, Origin, Problem

MAX_BYTES = 1 << 20
MAX_VALUES = 50_000
"""Values after aliases are expanded: a small file cannot grow without bound."""
MAX_DEPTH = 50

_PLAIN = "!antiphon-plain"
_TEXT = "tag:yaml.org,2002:str"
_TYPED = tuple(f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null"))
_INTEGER = re.compile(r"[-+]?[0-9]{1,400}|0x[0-9a-fA-F]{1,100}|0o[0-7]{1,100}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_FLOAT_WORDS = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def resolve(text: str) -> str | int | float | bool | None:
    """The value of a plain scalar by the YAML 1.2 core schema; text if it is nothing else."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _FLOAT_WORDS.fullmatch(text):
        return float(text.replace(".", ""))
    return text


@dataclass(frozen=True, slots=True)
class Scalar:
    text: str
    plain: bool
    """Written without quotes, so it may stand for a number, a boolean or null."""
    origin: Origin
    directory: Path
    """Relative paths count from here."""
    written: str | None = None
    """What was written, where `text` came about by interpolation: errors show this, never the variable's value."""
    broken: bool = False
    """Its problem was reported already."""

    @property
    def value(self) -> str | int | float | bool | None:
        return resolve(self.text) if self.plain else self.text


@dataclass(frozen=True, slots=True)
class Entry:
    origin: Origin
    """Of the key."""
    node: Node


@dataclass(frozen=True, slots=True)
class Section:
    entries: dict[str, Entry]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Items:
    items: tuple[Node, ...]
    origin: Origin


Node = Scalar | Section | Items


class _Loader(yaml.SafeLoader):
    """Leaves plain scalars unresolved, and marks them."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode and implicit[0]:
            return _PLAIN
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]


def parse(text: str, file: str, directory: Path, problems: list[Problem]) -> Section | None:
    """The tree of a YAML text; what is wrong is added to `problems`. None: nothing of it can be used."""
    root = _compose(text, file, problems)
    if root is None:
        return None
    builder = _Builder(file, directory, problems)
    try:
        node = builder.build(root, ())
    except InvalidConfig as error:
        problems.extend(error.problems)
        return None
    if isinstance(node, Section):
        return node
    if isinstance(node, Scalar) and node.value is None:
        problems.append(_empty(file))
        return None
    found = "a list" if isinstance(node, Items) else "a single value"
    problems.append(Problem(f"the file holds {found}, not a mapping of sections", node.origin))
    return None


def parse_value(text: str, origin: Origin, directory: Path, problems: list[Problem]) -> Node | None:
    """A value given outside a file: text, number, boolean or null; a list or mapping in flow form, or quoted text."""
    if not text.lstrip().startswith(("[", "{", '"', "'")):
        return Scalar(text.strip(), True, origin, directory)
    found: list[Problem] = []
    root = _compose(text, origin.file, found)
    node: Node | None = None
    if root is not None:
        try:
            node = _Builder(origin.file, directory, found, fixed=origin).build(root, ())
        except InvalidConfig as error:
            found.extend(error.problems)
    problems.extend(Problem(problem.message, origin, hint=problem.hint) for problem in found)
    return None if found else node


def _compose(text: str, file: str, problems: list[Problem]) -> yaml.Node | None:
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        problems.append(_syntax_problem(error, text, file))
        return None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problems.append(
            Problem(f"character U+{ord(text[error.position]):04X} is not allowed in YAML", Origin(file, line))
        )
        return None
    except RecursionError:
        problems.append(Problem("nested too deeply", Origin(file)))
        return None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last for "\\UFFFFFFFF", which is no character
        problems.append(Problem(f"no valid YAML ({type(error).__name__})", Origin(file)))
        return None
    if root is None:
        problems.append(_empty(file))
    return root


def _empty(file: str) -> Problem:
    return Problem("the file is empty", Origin(file), hint="'extends: local.yaml' alone would be enough.")


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = None if mark is None else mark.line + 1
    words = [part for part in (error.context, error.problem) if part]
    column = "" if mark is None else f" (column {mark.column + 1})"
    hint = ""
    lines = text.splitlines()
    if line is not None and line <= len(lines):
        if "${" in lines[line - 1]:
            hint = "Inside [...] and {...} a value with ${...} must be in quotes."
        elif "\t" in lines[line - 1]:
            hint = "Indent with spaces; YAML allows no tabs there."
        elif error.problem == "mapping values are not allowed here":
            hint = "Text that contains ': ' must be in quotes; or the line is indented too far."
    return Problem(f"no valid YAML: {', '.join(words)}{column}", Origin(file, line), hint=hint)


class _Builder:
    """YAML nodes to our own, once per use: an alias is expanded, a cycle refused."""

    def __init__(self, file: str, directory: Path, problems: list[Problem], fixed: Origin | None = None) -> None:
        self.file = file
        self.directory = directory
        self.problems = problems
        self.fixed = fixed
        self.values = 0
        self.open: list[int] = []

    def origin(self, node: yaml.Node) -> Origin:
        return self.fixed or Origin(self.file, node.start_mark.line + 1)

    def build(self, node: yaml.Node, path: tuple[str, ...]) -> Node:
        """:raises InvalidConfig: the document cannot be expanded at all."""
        self.values += 1
        origin = self.origin(node)
        if id(node) in self.open:
            raise InvalidConfig([Problem("an alias that contains itself", origin, ".".join(path))])
        if self.values > MAX_VALUES:
            raise InvalidConfig([Problem(f"more than {MAX_VALUES} values once aliases are expanded", origin)])
        if len(path) > MAX_DEPTH:
            raise InvalidConfig([Problem(f"nested deeper than {MAX_DEPTH} levels", origin)])
        self.open.append(id(node))
        try:
            if isinstance(node, yaml.ScalarNode):
                return self.scalar(node, path)
            self.check_tag(node, path)
            if isinstance(node, yaml.SequenceNode):
                items = (self.build(item, (*path, str(index))) for index, item in enumerate(node.value))
                return Items(tuple(items), origin)
            return Section(self.entries(node, path), origin)
        finally:
            self.open.pop()

    def scalar(self, node: yaml.ScalarNode, path: tuple[str, ...]) -> Scalar:
        if node.tag not in (_PLAIN, _TEXT, *_TYPED):
            self.refuse_tag(node, path)
        return Scalar(node.value, node.tag not in (_TEXT,), self.origin(node), self.directory)

    def entries(self, node: yaml.Node, path: tuple[str, ...]) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        merged: list[Section] = []
        for key_node, value_node in node.value:
            origin = self.origin(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(Problem("a key must be text, not a list or mapping", origin, ".".join(path)))
                continue
            key = key_node.value
            value = self.build(value_node, (*path, key))
            if key == "<<" and key_node.tag == _PLAIN:
                merged.extend(self.merge_sources(value, path))
            elif key in entries:
                first = entries[key].origin
                self.problems.append(
                    Problem(f"written twice, first in line {first.line}", origin, ".".join((*path, key)))
                )
            else:
                entries[key] = Entry(origin, value)
        for source in merged:
            for key, entry in source.entries.items():
                entries.setdefault(key, entry)
        return entries

    def merge_sources(self, value: Node, path: tuple[str, ...]) -> list[Section]:
        sources = value.items if isinstance(value, Items) else (value,)
        sections = [source for source in sources if isinstance(source, Section)]
        if len(sections) != len(sources):
            self.problems.append(Problem("'<<' takes a mapping or a list of mappings", value.origin, ".".join(path)))
        return sections

    def check_tag(self, node: yaml.Node, path: tuple[str, ...]) -> None:
        if node.tag not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            self.refuse_tag(node, path)

    def refuse_tag(self, node: yaml.Node, path: tuple[str, ...]) -> None:
        tag = node.tag.removeprefix("tag:yaml.org,2002:")
        self.problems.append(
            Problem(f"YAML tags such as '!{tag.lstrip('!')}' mean nothing here", self.origin(node), ".".join(path))
        )
