"""Configuration: one YAML file to a validated :class:`Config`.

config = load_config("tiny.yaml", overrides=["llm.temperature=0.2"])
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from antiphon.pipeline.config.blocks import EngineBlock, engine_block
from antiphon.pipeline.config.check import check
from antiphon.pipeline.config.dump import config_data, dump_config
from antiphon.pipeline.config.errors import InvalidConfig, Origin, Problem, in_file_order
from antiphon.pipeline.config.interpolate import interpolate_tree
from antiphon.pipeline.config.layers import apply_overrides, load_layers
from antiphon.pipeline.config.model import (
    AudioConfig,
    Config,
    ModelsConfig,
    SessionConfig,
    TextConfig,
    WorkflowConfig,
)
from antiphon.pipeline.config.schema import json_schema
from antiphon.pipeline.config.sources import Source, find_source, packaged_names
from antiphon.pipeline.config.tree import Section
from antiphon.pipeline.config.turns import GateConfig, InterruptionConfig, SpeculationConfig

__all__ = [
    "AudioConfig",
    "Config",
    "EngineBlock",
    "GateConfig",
    "InterruptionConfig",
    "InvalidConfig",
    "ModelsConfig",
    "Origin",
    "Problem",
    "SessionConfig",
    "SpeculationConfig",
    "TextConfig",
    "WorkflowConfig",
    "config_data",
    "dump_config",
    "engine_block",
    "json_schema",
    "load_config",
    "packaged_names",
    "parse_config",
    "trace_config",
]


def load_config(
    source: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Read, merge, fill in and validate a configuration.

    :param source: a path; the bare name of a packaged one ("tiny.yaml" or "tiny"); None: the packaged `local.yaml`.
    :param overrides: "key.path=value", over everything else. A value is a YAML scalar, or a list or
        mapping in flow form.
    :param environ: the variables for `${NAME}`; None: the process's own.
    :raises InvalidConfig: (a ConfigError) with every problem, each with file, line and key path.
    """
    return trace_config(source, overrides=overrides, environ=environ)[0]


def parse_config(
    text: str,
    *,
    name: str = "<text>",
    directory: Path | None = None,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Config:
    """The same for a text that is no file; its relative paths count from `directory` (None: the current one).

    :raises InvalidConfig: as :func:`load_config`.
    """
    return _load(Source(name, directory or Path.cwd(), text, f"text:{name}"), overrides, environ)[0]


def trace_config(
    source: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> tuple[Config, Section]:
    """:func:`load_config`, and the merged tree, in which every value knows where it was written."""
    return _load(find_source(source), overrides, environ)


def _load(source: Source, overrides: Sequence[str], environ: Mapping[str, str] | None) -> tuple[Config, Section]:
    variables = os.environ if environ is None else environ
    problems: list[Problem] = []
    tree = load_layers(source, variables, problems)
    if tree is not None:
        tree = apply_overrides(tree, overrides, variables, Path.cwd(), problems)
        filled = interpolate_tree(tree, variables, problems)
        assert isinstance(filled, Section)
        config = check(filled, problems)
        if config is not None and not problems:
            return config, filled
    raise InvalidConfig(in_file_order(problems))
