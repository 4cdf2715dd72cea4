"""Two results, compared turn by turn: is B slower, does it cut more people off, does it understand less?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from antiphon.benchmarks import paired
from antiphon.benchmarks.paired import Estimate, TurnKey
from antiphon.benchmarks.records import SCHEMA_VERSION, BenchResult, ConfigResult, TurnRecord
from antiphon.benchmarks.report.reading import label_of
from antiphon.benchmarks.report.reading import read_result as checked
from antiphon.benchmarks.result import RESULT, ResultError

METRICS = ("ttfa_ms", "commit_delay_ms", "compute_after_commit_ms", "cpu_s")
"""What a ratio can be taken of; less is better in each."""

_CUT = frozenset({"cutoff"})
_MISSED = frozenset({"missed", "failed"})
_STARTED = frozenset({"false_start"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How often something happened in the same turns of A and of B."""

    a: int
    b: int
    turns: int
    chance: float
    """How probable it is that it rose so by chance (:func:`~antiphon.benchmarks.paired.rose_significantly`)."""

    @property
    def rose(self) -> bool:
        return self.chance < paired.SIGNIFICANT


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One configuration in both results. A difference is B less A; None: there is nothing to compare."""

    label: str
    settings: str
    """What is set differently in the two; empty: nothing."""
    metric: str
    pairs: int
    """Turns that are in both."""
    a: float | None
    """Median of the metric over the pairs that have it."""
    b: float | None
    ratio: Estimate | None
    """B over A."""
    commit_delay_ms: Estimate | None
    compute_after_commit_ms: Estimate | None
    cpu_s: Estimate | None
    cutoffs: Rate
    misses: Rate
    """Missed or failed."""
    false_starts: Rate
    """Of clips without speech."""
    wer: Estimate | None
    only_a: tuple[TurnKey, ...]
    only_b: tuple[TurnKey, ...]

    def worse(self, threshold: float) -> list[str]:
        """Why B counts as worse; empty: it does not."""
        found = []
        if self.ratio is not None and self.ratio.interval is not None and self.ratio.interval[0] > threshold:
            found.append(
                f"{self.metric} is {self.ratio.value:.2f} times A's; even the lower end of the interval "
                f"({self.ratio.interval[0]:.2f}) is above {threshold:g}"
            )
        for name, rate in (("cut off", self.cutoffs), ("missed or failed", self.misses)):
            if rate.rose:
                found.append(f"{name}: {rate.a} before, {rate.b} now, of {rate.turns}; by chance: {rate.chance:.3f}")
        if self.false_starts.rose:
            found.append(f"false starts: {self.false_starts.a} before, {self.false_starts.b} now")
        if self.wer is not None and self.wer.rose:
            found.append(f"word errors rose by {100 * self.wer.value:.1f} points of 100 words")
        return found

    @property
    def undecided(self) -> bool:
        """Whether there are too few clips for an interval of the ratio."""
        return self.ratio is None or self.ratio.interval is None


def load_result(path: Path) -> tuple[BenchResult, list[str]]:
    """A result, or the one in a folder, and what is to be said about it.

    :raises ResultError: it cannot be read, or is no result of a benchmark.
    :raises ReportError: a field is wrong.
    """
    if path.is_dir():
        path = path / RESULT
    try:
        data: Any = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ResultError(f"{path}: cannot be read: {error.strerror}", hint="make one: antiphon bench run") from error
    except ValueError as error:
        raise ResultError(f"{path}: is no JSON: {error}") from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, int):
        raise ResultError(f"{path}: is no result of a benchmark: it has no schema_version")
    said = []
    if version != SCHEMA_VERSION:
        said.append(f"{path} has schema version {version}, not {SCHEMA_VERSION}: it is read as far as it goes")
    result = checked({**data, "schema_version": SCHEMA_VERSION})
    if not result.complete:
        said.append(f"{path} is of a run that was stopped before its end")
    return result, said


def differences(a: BenchResult, b: BenchResult) -> list[str]:
    """What makes two results less comparable."""
    said = []
    if changed := [name for name in sorted({*a.machine, *b.machine}) if a.machine.get(name) != b.machine.get(name)]:
        shown = ", ".join(f"{name}: {a.machine.get(name)} / {b.machine.get(name)}" for name in changed)
        said.append(f"the machines differ ({shown}): times say little")
    if a.clips.get("index_sha256") != b.clips.get("index_sha256"):
        said.append("the indexes of the clips differ: the same name may be another recording")
    return said


def compare(
    a: BenchResult, b: BenchResult, *, metric: str = "ttfa_ms", config: str | None = None
) -> tuple[list[Comparison], list[str]]:
    """Every configuration and peer that is in both; and the names of those that are in one only.

    Of a file that is in each of them once, the settings may differ.

    :param config: only the one of that name (or the label with its settings).
    :raises ResultError: nothing is in both, or there is no such configuration.
    """
    ours, theirs = _by_label(a), _by_label(b)
    if config is not None:
        ours, theirs = (
            {label: one for label, one in found.items() if config in (label, one.config)} for found in (ours, theirs)
        )
    matched = _matched(ours, theirs)
    if not matched:
        names = f"A has {_listed(_by_label(a))}; B has {_listed(_by_label(b))}"
        wanted = "no configuration" if config is None else f"no configuration '{config}'"
        raise ResultError(f"{wanted} is in both results", hint=names)
    alone = [f"{label} (only in A)" for label in ours if label not in {x for x, _ in matched}]
    alone += [f"{label} (only in B)" for label in theirs if label not in {y for _, y in matched}]
    found = [_compare_one(x, y, ours[x], theirs[y], metric) for x, y in matched]
    if not any(one.pairs for one in found):
        raise ResultError("no turn is in both results", hint="compare runs over the same clips")
    return found, alone


# ------------------------------------------------------------------------------------------ inside


def _by_label(result: BenchResult) -> dict[str, ConfigResult]:
    found: dict[str, ConfigResult] = {}
    for one in [*result.configs, *result.peers]:
        label = label_of(one, with_sessions=one.concurrency > 1)
        count = sum(other == label or other.startswith(f"{label} (") for other in found)
        found[f"{label} ({count + 1})" if count else label] = one
    return found


def _matched(ours: Mapping[str, ConfigResult], theirs: Mapping[str, ConfigResult]) -> list[tuple[str, str]]:
    """Labels that belong together: the same in both; or the only ones left of a file, where only settings differ."""
    matched = [(label, label) for label in ours if label in theirs]
    left_a = [label for label in ours if label not in theirs]
    left_b = [label for label in theirs if label not in ours]
    for x in left_a:
        same = [
            [label for label in left if _file(found[label]) == _file(ours[x])]
            for left, found in ((left_a, ours), (left_b, theirs))
        ]
        if [len(labels) for labels in same] == [1, 1]:
            matched.append((x, same[1][0]))
    return matched


def _file(result: ConfigResult) -> tuple[str, int]:
    return result.config, result.concurrency


def _listed(found: Iterable[str]) -> str:
    return ", ".join(found) or "none"


def _compare_one(label_a: str, label_b: str, a: ConfigResult, b: ConfigResult, metric: str) -> Comparison:
    ours, theirs = paired.turns_of(a), paired.turns_of(b)
    both = paired.same_turns(a, b)
    spoken = [pair for pair in both if pair[0].outcome not in ("quiet", "false_start")]
    noise = [pair for pair in both if pair[0].outcome in ("quiet", "false_start")]

    def values(name: str) -> dict[str, list[tuple[float, float]]]:
        answered = [(x, y) for x, y in spoken if x.outcome == y.outcome == "answered"]
        return paired.by_clip((x.clip, getattr(x, name), getattr(y, name)) for x, y in answered)

    measured = [pair for pairs in values(metric).values() for pair in pairs]
    scored = [(x, y) for x, y in spoken if x.words is not None and y.words is not None]
    return Comparison(
        label=label_a if label_a == label_b else a.config,
        settings="" if label_a == label_b else f"A is {label_a}; B is {label_b}",
        metric=metric,
        pairs=len(both),
        a=median(pair[0] for pair in measured) if measured else None,
        b=median(pair[1] for pair in measured) if measured else None,
        ratio=paired.ratio(values(metric)),
        commit_delay_ms=paired.difference(values("commit_delay_ms")),
        compute_after_commit_ms=paired.difference(values("compute_after_commit_ms")),
        cpu_s=paired.difference(values("cpu_s")),
        cutoffs=_rate(spoken, _CUT),
        misses=_rate(spoken, _MISSED),
        false_starts=_rate(noise, _STARTED),
        wer=paired.rate_difference(
            paired.by_clip((x.clip, x.word_errors, y.word_errors) for x, y in scored),
            paired.by_clip((x.clip, x.words, y.words) for x, y in scored),
        ),
        only_a=tuple(key for key in ours if key not in theirs),
        only_b=tuple(key for key in theirs if key not in ours),
    )


def _rate(turns: Sequence[tuple[TurnRecord, TurnRecord]], outcomes: frozenset[str]) -> Rate:
    happened = [(x.clip, x.outcome in outcomes, y.outcome in outcomes) for x, y in turns]
    return Rate(
        a=sum(before for _, before, _ in happened),
        b=sum(after for _, _, after in happened),
        turns=len(turns),
        chance=paired.rose_significantly(paired.by_clip(happened)),
    )
