"""A grid over configuration keys: one variant for every combination of values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from antiphon.benchmarks.records import ConfigResult
from antiphon.benchmarks.variants import REPLAYS_OFF, Variant, fixed_settings, without_replays
from antiphon.pipeline.config import Config, InvalidConfig, Origin, load_config
from antiphon.pipeline.errors import ConfigError

MOST_POINTS = 64
"""A point takes as long as a run: a larger grid is a mistake more often than a plan."""
PLACE = "--grid"

_OPEN, _CLOSE, _QUOTES = "[{", "]}", "\"'"


@dataclass(frozen=True, slots=True)
class GridAxis:
    """One key and the values that it takes, as YAML text."""

    key: str
    values: tuple[str, ...]


def parse_axis(text: str) -> GridAxis:
    """ "turn.preset=fast,balanced" or "turn.handover_ms=[160,160,300,500],[180,200,500,600]".

    :raises ConfigError: it is not of that form, or a value is empty or there twice.
    """
    key, equals, listed = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ConfigError("takes KEY=VALUE,VALUE,..., for example turn.preset=fast,balanced,careful", file=PLACE)
    values = _split(key, listed)
    if "" in values:
        raise ConfigError("has an empty value", file=PLACE, key=key, hint="write null, or '' for an empty text")
    if twice := next((value for value in values if values.count(value) > 1), None):
        raise ConfigError(f"has the value {twice} twice", file=PLACE, key=key)
    return GridAxis(key, tuple(values))


def grid_settings(axes: Sequence[GridAxis]) -> list[dict[str, str]]:
    """Every combination, the last key changing fastest.

    :raises ConfigError: there is no axis, a key is there twice, or there are more than :data:`MOST_POINTS`.
    """
    keys = [axis.key for axis in axes]
    if not keys:
        raise ConfigError(
            "is missing: which keys take which values?", file=PLACE, hint="--grid turn.preset=fast,careful"
        )
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise ConfigError("is there twice", file=PLACE, key=twice, hint="write all its values in one --grid")
    count = math.prod(len(axis.values) for axis in axes)
    if count > MOST_POINTS:
        raise ConfigError(
            f"the grid has {count} points; at most {MOST_POINTS} are measured in one sweep",
            file=PLACE,
            hint="leave values out, or make several sweeps",
        )
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(axis.values for axis in axes))]


def sweep_variants(name: str, source: str, axes: Sequence[GridAxis], overrides: Sequence[str] = ()) -> list[Variant]:
    """One variant a point of the grid, each checked: nothing is loaded before all of them are valid.

    :param name: the configuration's file name; `source`: where it is.
    :raises ConfigError: the configuration, the overrides or a point of the grid is not valid.
    """
    points = grid_settings(axes)
    quiet = without_replays(load_config(source, overrides=overrides))
    fixed, notes = fixed_settings(overrides), (REPLAYS_OFF,) if quiet else ()
    return [
        Variant(name, _point(source, [*quiet, *overrides], settings), settings, fixed, notes) for settings in points
    ]


def sweep_block(axes: Sequence[GridAxis], found: Sequence[tuple[Mapping[str, Any], int]], order: str) -> dict[str, Any]:
    """`sweep` of `result.json`.

    :param found: settings of each measured point, and the index of its result in `configs`.
    """
    return {
        "keys": [axis.key for axis in axes],
        "points": [{"settings": dict(settings), "result": index} for settings, index in found],
        "order": order,
    }


def rank(result: ConfigResult) -> tuple[float, float]:
    """Sorts points: fewest false cutoffs first, then the fastest."""
    rate, ttfa = result.false_cutoff_rate, result.ttfa_ms.p50
    return (math.inf if rate is None else rate, math.inf if ttfa is None else ttfa)


# ------------------------------------------------------------------------------------------ inside


def _point(source: str, overrides: Sequence[str], settings: Mapping[str, str]) -> Config:
    written = [f"{key}={value}" for key, value in settings.items()]
    try:
        return load_config(source, overrides=[*overrides, *written])
    except InvalidConfig as error:  # the file and --set are valid without the grid, as was seen before
        placed = [replace(problem, origin=Origin(PLACE)) for problem in error.problems]
        raise InvalidConfig(placed) from None


def _split(key: str, text: str) -> list[str]:
    """At commas that stand in no bracket and no quotation.

    :raises ConfigError: a bracket or a quotation is not closed.
    """
    parts, part, depth, quote = [], "", 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES and not part.strip("[{, "):
            quote = character
        elif character in _OPEN:
            depth += 1
        elif character in _CLOSE:
            depth -= 1
        if character == "," and depth == 0 and not quote:
            parts.append(part.strip())
            part = ""
        else:
            part += character
    if depth or quote:
        raise ConfigError("has a bracket or a quotation mark that is not closed", file=PLACE, key=key)
    return [*parts, part.strip()]
