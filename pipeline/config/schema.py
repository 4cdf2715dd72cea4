"""The JSON Schema of a configuration file, for editors: each stage's options depend on its `engine`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import models_json_schema

from antiphon.engines import registry
from antiphon.engines.config import EngineOptions
from antiphon.engines.protocols import STAGES, Stage
from antiphon.pipeline.config.blocks import CHAIN_STAGES, block_keys
from antiphon.pipeline.config.model import SECTIONS

_STAGE_MEANINGS: dict[str, str] = {
    "vad": "Voice activity detection: which windows of the audio are speech.",
    "turn": "Turn detection: when the speaker has finished.",
    "stt": "Speech to text. A list of blocks is a fallback chain.",
    "llm": "The language model. A list of blocks is a fallback chain.",
    "tts": "Text to speech. A list of blocks is a fallback chain.",
}
_VARIABLE = {"$ref": "#/$defs/variable"}

Schema = dict[str, Any]


def json_schema() -> Schema:
    """The schema (draft 2020-12) of every key, with the options of every engine that can be loaded here."""
    definitions: Schema = {
        "variable": {
            "type": "string",
            "pattern": r"\$\{",
            "description": "A value from the environment: ${NAME} or ${NAME:-default}.",
        }
    }
    properties: Schema = {
        "extends": {
            "description": "A file (relative to this one) or a packaged configuration that this one is laid over.",
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        }
    }
    for name, model in SECTIONS.items():
        definitions[name] = _model_schema(model, definitions)
        properties[name] = {"anyOf": [{"$ref": f"#/$defs/{name}"}, {"type": "null"}]}
    for stage in STAGES:
        definitions[f"{stage}_block"] = _block(stage, definitions)
        properties[stage] = _stage(stage)
    complete = {stage: {"if": {"type": "object"}, "then": {"required": ["engine"]}} for stage in STAGES}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Antiphon configuration",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "if": {"not": {"required": ["extends"]}},
        "then": {"required": list(STAGES), "properties": complete},
        "$defs": definitions,
    }


def _stage(stage: Stage) -> Schema:
    block = {"$ref": f"#/$defs/{stage}_block"}
    if stage not in CHAIN_STAGES:
        return {"description": _STAGE_MEANINGS[stage], **block}
    chain = {"type": "array", "minItems": 1, "items": {"allOf": [block, {"required": ["engine"]}]}}
    return {"description": _STAGE_MEANINGS[stage], "if": {"type": "array"}, "then": chain, "else": block}


def _block(stage: Stage, definitions: Schema) -> Schema:
    """One block: the options are those of the engine that it names. A user's own engine may have any."""
    names = registry.names(stage)
    choices = [{"const": name, "description": registry.find(stage, name).summary} for name in names]
    own = {"description": "A dotted path to your own engine.", "type": "string", "pattern": r"[.:]"}
    engine = {"description": "Which engine.", "anyOf": [*choices, own, _VARIABLE]}
    shared = _model_schema(block_keys(stage), definitions)["properties"]
    rules: list[Schema] = []
    for name in names:
        options = _options_schema(stage, name, definitions)
        if options is None:
            continue
        definition = f"{stage}_{name}"
        definitions[definition] = {
            **options,
            "properties": {"engine": {"const": name}, **shared, **options["properties"]},
        }
        rules.append(
            {
                "if": {"required": ["engine"], "properties": {"engine": {"const": name}}},
                "then": {"$ref": f"#/$defs/{definition}"},
            }
        )
    return {"type": "object", "properties": {"engine": engine, **shared}, "allOf": rules}


def _options_schema(stage: Stage, name: str, definitions: Schema) -> Schema | None:
    """None for an engine of somebody else that cannot be loaded, or whose options JSON Schema cannot express."""
    spec = registry.find(stage, name)
    try:
        options = spec.options_class()
        if issubclass(options, EngineOptions):
            return _model_schema(options, definitions)
    except (ImportError, PydanticInvalidForJsonSchema):
        if spec in registry.BUILTINS:
            raise
    return None


def _model_schema(model: type[BaseModel], definitions: Schema) -> Schema:
    """A model's own schema; what it refers to goes to `definitions`.

    Nothing is `required`: a file that is extended may hold it. What is complete, `config check` says.
    """
    references, shared = models_json_schema([(model, "validation")], ref_template="#/$defs/{model}")
    own_name = references[(model, "validation")]["$ref"].removeprefix("#/$defs/")
    found: Schema = dict(shared["$defs"])
    own: Schema = found.pop(own_name)
    definitions.update({name: _open_to_variables(schema) for name, schema in found.items()})
    own.pop("required", None)
    own.setdefault("properties", {})
    return _open_to_variables(own)


def _open_to_variables(schema: Schema) -> Schema:
    """Every value may be `${NAME}`; and a boolean or number may stand where text is wanted, as YAML has no quotes."""
    properties = {name: _open_property(prop) for name, prop in schema.get("properties", {}).items()}
    return {**schema, "properties": properties} if properties else schema


def _open_property(schema: Schema) -> Schema:
    about: Schema = {
        key: schema[key] for key in ("title", "description", "default", "examples", "unit") if key in schema
    }
    if about.get("unit"):
        about["description"] = f"{about.get('description', '')} Unit: {about['unit']}."
    rule = {key: value for key, value in schema.items() if key not in (*about, "secret", "model_reference")}
    about.pop("title", None)
    alternatives = rule.pop("anyOf") if list(rule) == ["anyOf"] else [rule]
    if any(
        alternative.get("type") == "string" and not {"const", "enum"} & alternative.keys()
        for alternative in alternatives
    ):
        alternatives = [*alternatives, {"type": ["boolean", "number"]}]
    return {**about, "anyOf": [*alternatives, _VARIABLE]}
