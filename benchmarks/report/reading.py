"""From the JSON of `result.json` to the records, checked once: the rest of the report works on typed values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from antiphon.benchmarks.records import SCHEMA_VERSION, BenchResult, ConfigResult, TurnRecord
from antiphon.benchmarks.report.figures import pareto_front
from antiphon.engines.errors import AntiphonError

MOST_POINTS_SHOWN = 8
"""Of a result that is nothing but a sweep, at most as many settings get a card and a waterfall of their own."""


class ReportError(AntiphonError):
    """Raised when a result cannot be made into a report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One configuration or peer as the report names and colours it."""

    key: str
    """Unique in the page: part of ids."""
    label: str
    color: int | None
    """Index into the palette of configurations; None: a peer."""
    result: ConfigResult

    @property
    def is_peer(self) -> bool:
        return self.color is None

    @property
    def records(self) -> tuple[TurnRecord, ...]:
        return self.result.turn_records


def read_result(result: Mapping[str, Any]) -> BenchResult:
    """Check the shape of a result. A number that is not finite counts as not measured.

    :raises ReportError: it has another schema version, or a field is wrong.
    """
    version = result.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ReportError(
            f"the result has schema version {version!r}; this report reads version {SCHEMA_VERSION}",
            hint="use the version of antiphon that wrote it, or run the benchmark again",
        )
    try:
        read = TypeAdapter(BenchResult).validate_python(_finite(result))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the result"
        raise ReportError(
            f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}",
            hint="result.json is written by 'antiphon bench run'; its fields are those of benchmarks/records.py",
        ) from error
    for where, index in _references(read):
        if not isinstance(index, int) or not 0 <= index < len(read.configs):
            raise ReportError(f"{where}: there is no configs[{index!r}] in the result")
    return read


def configurations(result: BenchResult) -> list[Entry]:
    """The configurations that the report is about: those that are no point of a sweep, an ablation or a load test.

    A result that holds nothing else is about its base: all levers on, the fewest sessions, or the front.
    """
    parts = {index for _, index in _references(result)}
    chosen = [index for index in range(len(result.configs)) if index not in parts]
    if not chosen and result.ablation and result.ablation.get("levers"):
        chosen = [result.ablation["levers"][0]["result"]]
    if not chosen and result.load and result.load.get("steps"):
        chosen = [result.load["steps"][0]["result"]]
    if not chosen:
        chosen = _front(result)
    several = {config.concurrency for config in (result.configs[index] for index in chosen)} != {1}
    return [
        Entry(
            key=f"c{number}",
            label=label_of(result.configs[index], with_sessions=several),
            color=number,
            result=result.configs[index],
        )
        for number, index in enumerate(chosen)
    ]


def only_sweep(result: BenchResult) -> int:
    """How many settings a sweep tried, if the result holds nothing else; else 0."""
    points = len((result.sweep or {}).get("points") or ())
    return points if points and not result.ablation and not result.load and points == len(result.configs) else 0


def _front(result: BenchResult) -> list[int]:
    """The settings that no other beats in both the false-cutoff rate and the median TTFA, the safest first."""
    known = [
        (index, config.false_cutoff_rate, config.ttfa_ms.p50)
        for index, config in enumerate(result.configs)
        if config.false_cutoff_rate is not None and config.ttfa_ms.p50 is not None
    ]
    front = pareto_front([(rate, ttfa) for _, rate, ttfa in known if rate is not None and ttfa is not None])
    return [known[at][0] for at in front][:MOST_POINTS_SHOWN] or list(range(len(result.configs)))[:MOST_POINTS_SHOWN]


def peers(result: BenchResult) -> list[Entry]:
    return [
        Entry(key=f"p{number}", label=peer.config or "unnamed", color=None, result=peer)
        for number, peer in enumerate(result.peers)
    ]


def label_of(result: ConfigResult, *, with_sessions: bool = False) -> str:
    """The file's name, what was set on top of it, and how many sessions there were."""
    parts = [result.config or "unnamed"]
    parts += [f"{key} {setting(value)}" for key, value in result.settings.items()]
    if with_sessions:
        parts.append(f"{result.concurrency} session{'' if result.concurrency == 1 else 's'}")
    return " · ".join(parts)


def setting(value: object) -> str:
    """A value of a setting as YAML would have it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _references(result: BenchResult) -> list[tuple[str, Any]]:
    """Which of `configs` are points of a sweep, an ablation or a load test."""
    found = []
    for name, rows in (("sweep", "points"), ("ablation", "levers"), ("load", "steps")):
        part = getattr(result, name) or {}
        for number, row in enumerate(part.get(rows) or ()):
            found.append((f"{name}.{rows}.{number}.result", row.get("result")))
    return found


def _finite(value: Any) -> Any:
    """The same without numbers that are not finite: JSON as Python writes it may hold NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
