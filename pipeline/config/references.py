"""Whether the models that a configuration names can be meant: a mistyped name is found before anything is loaded.

Looks at names only. Whether a model's files are here is for `antiphon doctor` to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from antiphon.engines.errors import CatalogInvalid, UnknownModel
from antiphon.engines.models.store import HubReference, ModelStore, default_catalog, names_a_path
from antiphon.engines.protocols import Stage
from antiphon.pipeline.config.blocks import EngineBlock
from antiphon.pipeline.config.errors import Origin, Problem, nearest
from antiphon.pipeline.config.fields import fields_by_key
from antiphon.pipeline.config.interpolate import join
from antiphon.pipeline.config.kinds import names_a_model
from antiphon.pipeline.config.model import ModelsConfig
from antiphon.pipeline.config.tree import Items, Node, Scalar, Section
from antiphon.pipeline.config.words import found


def check_model_names(
    tree: Section, blocks: Mapping[Stage, Sequence[EngineBlock | None]], models: ModelsConfig
) -> list[Problem]:
    """The models that are written in the blocks of local engines and that nobody knows.

    What an engine has by default is not looked at: nobody mistyped it.
    """
    named = [place for stage, chain in blocks.items() for place in _named(tree, stage, chain)]
    try:
        store = ModelStore(models.store, default_catalog(models.catalogs))
    except CatalogInvalid as error:
        return [Problem(error.message, *_catalogs_place(tree), error.hint)]
    return [problem for key, node in named if (problem := _problem(node, key, store)) is not None]


def _named(tree: Section, stage: Stage, chain: Sequence[EngineBlock | None]) -> Iterator[tuple[str, Scalar]]:
    """Key path and value of every model that a stage's blocks name."""
    for index, block in enumerate(chain):
        # Of a user's own class, named by its dotted path, nobody said whether it is local, and where it looks.
        if block is None or not block.spec.local or block.spec.factory == block.spec.name:
            continue
        node = tree.entries[stage].node
        path = f"{stage}.{index}" if isinstance(node, Items) else stage
        section = node.items[index] if isinstance(node, Items) else node
        assert isinstance(section, Section)
        keys = [key for key, info in fields_by_key(type(block.options)).items() if names_a_model(info)]
        if "voice" in keys:
            keys.append("voices")
        for key in keys:
            if (entry := section.entries.get(key)) is not None:
                yield from _values(entry.node, join(path, key))


def _values(node: Node, path: str) -> Iterator[tuple[str, Scalar]]:
    if isinstance(node, Items):
        for index, item in enumerate(node.items):
            yield from _values(item, join(path, str(index)))
    elif isinstance(node, Section):
        for key, entry in node.entries.items():
            yield from _values(entry.node, join(path, key))
    elif node.text and node.value is not None:
        yield path, node


def _problem(node: Scalar, key: str, store: ModelStore) -> Problem | None:
    name = node.text
    try:
        if HubReference.parse(name) is not None or names_a_path(name) or store.find(name) is not None:
            return None
    except UnknownModel as error:  # a hub reference that is none
        return Problem(f"found {found(node)}, which is no hub reference", node.origin, key, error.hint)
    known = store.names()
    hint = f"Known: {', '.join(known)}. Or give a path to a file or folder, or hub:owner/name@revision."
    return Problem(f"found {found(node)}; no model of that name is known{nearest(name, known)}", node.origin, key, hint)


def _catalogs_place(tree: Section) -> tuple[Origin, str]:
    """Where the catalogs are named; the top of the file where it is the user's own `catalog.yaml` that is wrong."""
    models = tree.entries.get("models")
    if models is not None and isinstance(models.node, Section) and "catalogs" in models.node.entries:
        return models.node.entries["catalogs"].origin, "models.catalogs"
    return tree.origin, "models"
