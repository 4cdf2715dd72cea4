"""Layers: a file over the one that it extends, overrides over both."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from antiphon.engines.protocols import STAGES
from antiphon.pipeline.config.errors import InvalidConfig, Origin, Problem
from antiphon.pipeline.config.interpolate import interpolate
from antiphon.pipeline.config.sources import Source, find_base
from antiphon.pipeline.config.tree import Entry, Items, Node, Scalar, Section, parse, parse_value

KEPT_ACROSS_ENGINES = ("deadline_s",)
"""Keys of a block that belong to no engine, so that they survive when another layer names another engine."""

OVERRIDE_PLACE = Origin("--set")
_KEY = re.compile(r"[^\s=]+")
_NUMBER = re.compile(r"[0-9]{1,6}")


def load_layers(source: Source, environ: Mapping[str, str], problems: list[Problem]) -> Section | None:
    """The tree of a source with all that it extends merged below it. None: nothing of it can be used."""
    return _load(source, environ, problems, (source,))


def _load(
    source: Source, environ: Mapping[str, str], problems: list[Problem], chain: tuple[Source, ...]
) -> Section | None:
    tree = parse(source.text, source.name, source.directory, problems)
    if tree is None or "extends" not in tree.entries:
        return tree
    entry = tree.entries["extends"]
    own = Section({key: value for key, value in tree.entries.items() if key != "extends"}, tree.origin)
    merged: Section = Section({}, tree.origin)
    references = entry.node.items if isinstance(entry.node, Items) else (entry.node,)
    for reference in references:
        base = _base(reference, source, environ, problems, chain)
        if base is None:
            return None
        merged = merge(merged, base, environ)
    return merge(merged, own, environ)


def _base(
    reference: Node, source: Source, environ: Mapping[str, str], problems: list[Problem], chain: tuple[Source, ...]
) -> Section | None:
    if not isinstance(reference, Scalar) or reference.value is None:
        problems.append(Problem("takes the name of a file, or a list of names", reference.origin, "extends"))
        return None
    name, wrong = interpolate(reference.text, environ)
    if wrong:
        problems.extend(Problem(message, reference.origin, "extends") for message in wrong)
        return None
    try:
        base = find_base(name, source, reference.origin)
    except InvalidConfig as error:
        problems.extend(error.problems)
        return None
    if any(base.identity == seen.identity for seen in chain):
        names = " -> ".join(item.name for item in (*chain, base))
        problems.append(Problem(f"files extend each other in a circle: {names}", reference.origin, "extends"))
        return None
    return _load(base, environ, problems, (*chain, base))


def merge(base: Section, over: Section, environ: Mapping[str, str]) -> Section:
    """Mappings merge key by key, anything else replaces what was there.

    A stage's block that names another engine drops the options that were meant for the engine below it.
    """
    return _merge(base, over, environ, 0)


def _merge(base: Section, over: Section, environ: Mapping[str, str], depth: int) -> Section:
    entries = dict(base.entries)
    for key, entry in over.entries.items():
        below = entries.get(key)
        node = entry.node
        if below is not None and isinstance(below.node, Section) and isinstance(node, Section):
            start = below.node
            if depth == 0 and key in STAGES and _other_engine(start, node, environ):
                start = without_engine(start)
            node = _merge(start, node, environ, depth + 1)
        entries[key] = Entry(entry.origin, node)
    return Section(entries, over.origin)


def without_engine(block: Section) -> Section:
    """A block without its engine and that engine's options."""
    return Section({key: entry for key, entry in block.entries.items() if key in KEPT_ACROSS_ENGINES}, block.origin)


def _engine_name(block: Section, environ: Mapping[str, str]) -> str | None:
    entry = block.entries.get("engine")
    if entry is None or not isinstance(entry.node, Scalar):
        return None
    return interpolate(entry.node.text, environ)[0]


def _other_engine(base: Section, over: Section, environ: Mapping[str, str]) -> bool:
    below, above = _engine_name(base, environ), _engine_name(over, environ)
    return None not in (below, above) and below != above


def apply_overrides(
    tree: Section, overrides: Sequence[str], environ: Mapping[str, str], directory: Path, problems: list[Problem]
) -> Section:
    """The tree with every "key.path=value" set. A block's `engine` is set first, whatever the order written."""
    parsed: list[tuple[tuple[str, ...], Node]] = []
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not _KEY.fullmatch(key):
            shown = f" (found '{key}')" if _KEY.fullmatch(key) else ""
            problems.append(Problem(f"takes KEY=VALUE, for example stt.model=whisper-base{shown}", OVERRIDE_PLACE))
            continue
        if key.split(".")[0] == "extends":
            problems.append(Problem("only a file can extend another one", OVERRIDE_PLACE, key))
            continue
        found: list[Problem] = []
        value = parse_value(text, OVERRIDE_PLACE, directory, found)
        problems.extend(replace(problem, key=key) for problem in found)
        if value is not None:
            parsed.append((tuple(key.split(".")), value))
    parsed.sort(key=lambda item: not _names_engine(item[0]))
    for path, value in parsed:
        try:
            changed = _set(tree, path, value, path, environ)
        except InvalidConfig as error:
            problems.extend(error.problems)
        else:
            assert isinstance(changed, Section)
            tree = changed
    return tree


def _names_engine(path: tuple[str, ...]) -> bool:
    is_block = len(path) == 2 or (len(path) == 3 and _NUMBER.fullmatch(path[1]) is not None)
    return is_block and path[0] in STAGES and path[-1] == "engine"


def _set(node: Node, path: tuple[str, ...], value: Node, whole: tuple[str, ...], environ: Mapping[str, str]) -> Node:
    """The node with the value at `path`; `whole` is the full key path, for errors and to know where blocks are."""
    if not path:
        return value
    name, rest = path[0], path[1:]
    at = whole[: len(whole) - len(path)]
    if isinstance(node, Items):
        index = _index(name, len(node.items), whole, at)
        items = list(node.items)
        items[index] = _set(items[index], rest, value, whole, environ)
        return replace(node, items=tuple(items))
    if name == "0" and at and at[0] in STAGES and len(at) == 1 and isinstance(node, Section):
        return _set(node, rest, value, whole, environ)  # a single block is the first of its chain
    if isinstance(node, Scalar):
        if node.value is not None:
            raise InvalidConfig([Problem(f"'{'.'.join(at)}' holds no further keys", OVERRIDE_PLACE, ".".join(whole))])
        node = Section({}, OVERRIDE_PLACE)
    if (
        not rest
        and _names_engine(whole)
        and _other_engine(node, Section({name: Entry(OVERRIDE_PLACE, value)}, OVERRIDE_PLACE), environ)
    ):
        node = without_engine(node)
    below = node.entries.get(name)
    start = below.node if below is not None else Section({}, OVERRIDE_PLACE)
    changed = _set(start, rest, value, whole, environ)
    return Section({**node.entries, name: Entry(OVERRIDE_PLACE, changed)}, node.origin)


def _index(name: str, count: int, whole: tuple[str, ...], at: tuple[str, ...]) -> int:
    if _NUMBER.fullmatch(name) and int(name) < count:
        return int(name)
    listed = ".".join(at)
    raise InvalidConfig(
        [
            Problem(
                f"'{listed}' is a list of {count}: name one by its number, {listed}.0 to {listed}.{count - 1}"
                if count
                else f"'{listed}' is an empty list",
                OVERRIDE_PLACE,
                ".".join(whole),
            )
        ]
    )
