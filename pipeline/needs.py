"""What a configuration needs on this machine: the models that its engines name."""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.engines.models.store import HubReference, ModelStore
from antiphon.pipeline.config import Config, EngineBlock
from antiphon.pipeline.engine_making import make_store


@dataclass(frozen=True, slots=True)
class NeededModel:
    """A model that a configuration names."""

    reference: str
    """A catalog name, "hub:owner/name@revision", or the path of a file or folder of the user's own."""
    keys: tuple[str, ...]
    """Where it is named: "stt.model", "llm.1.model", "tts.voices.de"."""
    pullable: bool
    """Whether `antiphon models pull` can bring it; false for files of the user's own."""


def needed_models(config: Config, store: ModelStore | None = None) -> list[NeededModel]:
    """Every model that the engines of a configuration name, each once, in the order of the chain.

    Which options name models, the engines say themselves (`option(..., model=True)`). Where `voice` is one of them, so
    are the voices under `tts.voices`.

    :param store: None: the one that the configuration names.
    :raises UnknownModel: a hub reference is malformed.
    """
    store = store or make_store(config)
    keys: dict[str, list[str]] = {}
    for path, block in block_paths(config).items():
        fields = type(block.options).model_fields.items()
        named = {name: info.alias or name for name, info in fields if _is_model(info.json_schema_extra)}
        for name, key in named.items():
            value = getattr(block.options, name)
            for reference in value if isinstance(value, tuple | list) else [value] if value else []:
                keys.setdefault(str(reference), []).append(f"{path}.{key}")
        for language, voice in block.voices.items() if "voice" in named else ():
            keys.setdefault(voice, []).append(f"{path}.voices.{language}")
    return [NeededModel(reference, tuple(where), _pullable(reference, store)) for reference, where in keys.items()]


def models_of(config: Config, store: ModelStore | None = None) -> list[str]:
    """The references of :func:`needed_models`."""
    return [model.reference for model in needed_models(config, store)]


def block_paths(config: Config) -> dict[str, EngineBlock]:
    """Every engine block by its key path: "vad", "llm", or "llm.0" and "llm.1" where it is a chain."""
    found = {"vad": config.vad, "turn": config.turn}
    for chain in (config.stt, config.llm, config.tts):
        for index, block in enumerate(chain):
            found[f"{block.stage}.{index}" if len(chain) > 1 else block.stage] = block
    return found


def _is_model(extra: object) -> bool:
    return isinstance(extra, dict) and bool(extra.get("model_reference"))


def _pullable(reference: str, store: ModelStore) -> bool:
    return HubReference.parse(reference) is not None or store.find(reference) is not None
