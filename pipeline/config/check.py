"""A merged and interpolated tree to a :class:`Config`, or the problems that it has."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from antiphon.engines import registry
from antiphon.engines.config import EngineOptions
from antiphon.engines.errors import UnknownEngine
from antiphon.engines.net import is_loopback
from antiphon.engines.protocols import STAGES, Stage
from antiphon.pipeline.config.blocks import CHAIN_STAGES, EngineBlock, block_keys
from antiphon.pipeline.config.errors import Problem, nearest
from antiphon.pipeline.config.fields import NOWHERE, check_model, fields_by_key, has_broken
from antiphon.pipeline.config.interpolate import join
from antiphon.pipeline.config.model import SECTIONS, Config
from antiphon.pipeline.config.references import check_model_names
from antiphon.pipeline.config.tree import Items, Node, Scalar, Section
from antiphon.pipeline.config.words import found, what_was_raised


def check(tree: Section, problems: list[Problem]) -> Config | None:
    """The configuration that a tree stands for, or None; what is wrong is added to `problems`."""
    known = (*SECTIONS, *STAGES)
    for key, entry in tree.entries.items():
        if key not in known:
            hint = f"A configuration has: {', '.join(known)}, extends."
            problems.append(Problem(f"unknown key{nearest(key, (*known, 'extends'))}", entry.origin, key, hint))
    parts: dict[str, Any] = {
        name: check_model(model, _section(tree, name, problems), name, problems) for name, model in SECTIONS.items()
    }
    blocks = {stage: _stage(stage, tree, problems) for stage in STAGES}
    session = parts["session"]
    if session is not None and session.offline:
        for stage in STAGES:
            problems.extend(_leaves_this_machine(stage, blocks[stage], tree))
    if parts["models"] is not None:
        problems.extend(check_model_names(tree, blocks, parts["models"]))
    if problems or has_broken(tree):
        return None
    for stage in STAGES:
        parts[stage] = blocks[stage] if stage in CHAIN_STAGES else blocks[stage][0]
    return Config(**parts)


def _section(tree: Section, name: str, problems: list[Problem]) -> Section:
    """A section's tree; empty where the key is missing or has nothing below it."""
    entry = tree.entries.get(name)
    if entry is None:
        return Section({}, tree.origin)
    if isinstance(entry.node, Section):
        return entry.node
    if not (isinstance(entry.node, Scalar) and entry.node.value is None):
        problems.append(Problem(f"found {found(entry.node)}; allowed: a mapping", entry.origin, name))
    return Section({}, entry.origin)


# --------------------------------------------------------------------------------------------- stages


def _stage(stage: Stage, tree: Section, problems: list[Problem]) -> tuple[EngineBlock | None, ...]:
    """The blocks of a stage in order, None for one that is wrong."""
    entry = tree.entries.get(stage)
    if entry is None or (isinstance(entry.node, Scalar) and entry.node.value is None and not entry.node.broken):
        hint = f"Add '{stage}: {{engine: ...}}', or 'extends: local.yaml' to take what is missing from there."
        problems.append(Problem("this stage is missing", entry.origin if entry else tree.origin, stage, hint))
        return ()
    node = entry.node
    if not isinstance(node, Items):
        return (_block(stage, node, stage, problems),)
    if stage not in CHAIN_STAGES:
        hint = f"Only {', '.join(CHAIN_STAGES)} can have a fallback chain."
        problems.append(Problem("found a list; allowed: one block", entry.origin, stage, hint))
        return ()
    if not node.items:
        problems.append(Problem("an empty list; a fallback chain has at least one block", entry.origin, stage))
    return tuple(_block(stage, item, f"{stage}.{index}", problems) for index, item in enumerate(node.items))


def _block(stage: Stage, node: Node, path: str, problems: list[Problem]) -> EngineBlock | None:
    if not isinstance(node, Section):
        _report_no_block(stage, node, path, problems)
        return None
    spec = _spec(stage, node, path, problems)
    options_class = None if spec is None else _options_class(spec, node, path, problems)
    if spec is None or options_class is None:
        return None
    own = block_keys(stage)
    shared = {key: entry for key, entry in node.entries.items() if key in own.model_fields}
    rest = {key: entry for key, entry in node.entries.items() if key not in shared and key != "engine"}
    keys = check_model(own, Section(shared, node.origin), path, problems, text_paths=True)
    options = check_model(
        options_class,
        Section(rest, node.origin),
        path,
        problems,
        also=("engine", *own.model_fields),
        elsewhere=NOWHERE if rest.keys() <= fields_by_key(options_class).keys() else _options_elsewhere(stage, spec),
        text_paths=True,
    )
    if keys is None or not isinstance(options, EngineOptions):
        return None
    voices = MappingProxyType(dict(getattr(keys, "voices", {})))
    return EngineBlock(stage, spec.name, options, spec, keys.deadline_s, voices)


def _report_no_block(stage: Stage, node: Scalar | Items, path: str, problems: list[Problem]) -> None:
    if isinstance(node, Scalar) and node.broken:
        return
    hint = ""
    if isinstance(node, Scalar) and node.text in registry.names(stage):
        hint = f"Write '{stage}: {{engine: {node.text}}}'."
    problems.append(Problem(f"found {found(node)}; allowed: a mapping with 'engine'", node.origin, path, hint))


def _spec(stage: Stage, block: Section, path: str, problems: list[Problem]) -> registry.EngineSpec | None:
    entry = block.entries.get("engine")
    key = join(path, "engine")
    names = registry.names(stage)
    if entry is None:
        hint = f"Write 'engine:' with one of: {', '.join(names)}."
        problems.append(Problem("this block names no engine", block.origin, path, hint))
        return None
    node = entry.node
    if isinstance(node, Scalar) and node.broken:
        return None
    if not isinstance(node, Scalar) or not node.text.strip():
        problems.append(Problem(f"found {found(node)}; allowed: {', '.join(names)}", entry.origin, key))
        return None
    try:
        spec = registry.find(stage, node.text.strip())
    except UnknownEngine as error:
        problems.append(Problem(_unknown_engine(node, names, error), node.origin, key))
        return None
    except Exception as error:  # importing a user's module runs the user's code: it may raise anything
        message = f"importing {found(node)} failed with {what_was_raised(error)}"
        problems.append(Problem(message, node.origin, key))
        return None
    if spec.stage != stage:
        problems.append(Problem(f"{found(node)} is an engine for '{spec.stage}', not for '{stage}'", node.origin, key))
        return None
    return spec


def _unknown_engine(node: Scalar, names: list[str], error: UnknownEngine) -> str:
    name = node.text.strip()
    if ":" in name or "." in name:
        reason = f": {error.__cause__}" if error.__cause__ is not None and node.written is None else ""
        return f"{found(node)} cannot be imported{reason}"
    return f"found {found(node)}; allowed: {', '.join(names)}, or a path 'module:Class'{nearest(name, names)}"


def _options_class(
    spec: registry.EngineSpec, block: Section, path: str, problems: list[Problem]
) -> type[EngineOptions] | None:
    hint = ""
    try:
        loaded = spec.options_class()
    except Exception as error:  # as above: the module may be a user's, or need a package that is not there
        message = f"the options of '{spec.name}' cannot be loaded: {what_was_raised(error)}"
        hint = f'pip install "antiphon[{spec.extra}]"' if spec.extra and spec.missing_packages() else ""
    else:
        if isinstance(loaded, type) and issubclass(loaded, EngineOptions):
            return loaded
        message = f"'{spec.options}' must be a subclass of antiphon.engines.config.EngineOptions"
    problems.append(Problem(message, block.entries["engine"].node.origin, join(path, "engine"), hint))
    return None


def _options_elsewhere(stage: Stage, spec: registry.EngineSpec) -> dict[str, str]:
    """Option name to the other engine of this stage that has it."""
    owners: dict[str, str] = {}
    for (kind, name), other in registry.specs().items():
        if kind == stage and name != spec.name and not other.missing_packages():
            owners.update(dict.fromkeys(other.options_class().model_fields, name))
    return owners


def _leaves_this_machine(stage: Stage, blocks: tuple[EngineBlock | None, ...], tree: Section) -> list[Problem]:
    """What `session.offline` forbids: remote engines without an address on this machine."""
    problems: list[Problem] = []
    for index, block in enumerate(blocks):
        if block is None or block.spec.local or is_loopback(_address(block)):
            continue
        node = tree.entries[stage].node
        path = f"{stage}.{index}" if isinstance(node, Items) else stage
        block_node = node.items[index] if isinstance(node, Items) else node
        assert isinstance(block_node, Section)
        origin = block_node.entries["engine"].node.origin
        message = f"'{block.engine}' would leave this machine, which 'session.offline: true' forbids"
        key = "uri" if hasattr(block.options, "uri") else "base_url"
        hint = f"Set 'offline: false' under 'session', or a '{key}' on this machine (localhost), or a local engine."
        problems.append(Problem(message, origin, join(path, "engine"), hint))
    return problems


def _address(block: EngineBlock) -> str:
    """Where a remote engine's requests go; "": it does not say."""
    return str(getattr(block.options, "base_url", None) or getattr(block.options, "uri", None) or "")
