"""From the records of turns to the summary of a configuration."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from antiphon.benchmarks.records import BargeInRecord, ConfigResult, StageTimes, TurnRecord
from antiphon.benchmarks.stats import ratio_of_sums, summary

_OUTCOMES = ("answered", "cutoff", "missed", "failed")


def summarise(
    config: str,
    records: Sequence[TurnRecord],
    *,
    settings: dict[str, Any] | None = None,
    concurrency: int = 1,
    cpu_s: float | None = None,
    peak_rss_mb: float | None = None,
    ready_s: float | None = None,
    one_breath: Iterable[str] = (),
    notes: Sequence[str] = (),
    barge_ins: Sequence[BargeInRecord] = (),
) -> ConfigResult:
    """Cold turns are in `ttfa_cold_ms` and in the records, and count nowhere else.

    :param cpu_s: of all turns together, where it cannot be told apart by turn; None: from the records.
    :param one_breath: names of the clips whose speech has no pause inside.
    """
    warm = [record for record in records if not record.cold]
    turns = [record for record in warm if record.outcome not in ("quiet", "false_start")]
    noise = [record for record in warm if record.outcome in ("quiet", "false_start")]
    breath = frozenset(one_breath)
    counts = {name: sum(record.outcome == name for record in turns) for name in _OUTCOMES}
    costs = [record.cpu_s for record in turns if record.cpu_s is not None]
    wasted = [record.wasted_s for record in turns if record.wasted_s is not None]
    scored = [record for record in turns if record.words is not None]
    spoken_into = [record for record in barge_ins if record.speech]
    noise_into = [record for record in barge_ins if not record.speech]
    return ConfigResult(
        config=config,
        settings=dict(settings or {}),
        concurrency=concurrency,
        turns=len(turns),
        answered=counts["answered"],
        cutoffs=counts["cutoff"],
        missed=counts["missed"],
        failed=counts["failed"],
        ttfa_ms=summary(record.ttfa_ms for record in turns),
        ttfa_cold_ms=summary(record.ttfa_ms for record in records if record.cold),
        cold_over_warm=_cold_over_warm(records, turns),
        commit_delay_ms=summary(record.commit_delay_ms for record in turns if record.outcome == "answered"),
        compute_after_commit_ms=summary(record.compute_after_commit_ms for record in turns),
        false_cutoff_rate=_rate(counts["cutoff"], turns),
        missed_rate=_rate(counts["missed"], turns),
        noise_clips=len(noise),
        false_start_rate=_rate(sum(record.outcome == "false_start" for record in noise), noise),
        words=sum(record.words or 0 for record in scored),
        word_errors=sum(record.word_errors or 0 for record in scored),
        wer=ratio_of_sums((record.word_errors or 0 for record in scored), (record.words or 0 for record in scored)),
        cer=ratio_of_sums(
            (record.character_errors or 0 for record in scored), (record.characters or 0 for record in scored)
        ),
        speculation_hit_rate=_hit_rate(turns, breath),
        wasted_s_per_turn=round(sum(wasted) / len(wasted), 4) if wasted else None,
        cpu_s_per_turn=_per_turn(cpu_s, costs, turns),
        peak_rss_mb=None if peak_rss_mb is None else round(peak_rss_mb, 1),
        underruns=sum(record.underruns for record in warm),
        barge_in_stop_ms=summary(record.stop_ms for record in spoken_into) if spoken_into else None,
        missed_interruption_rate=_rate(sum(not record.right for record in spoken_into), spoken_into),
        false_interruption_rate=_rate(sum(not record.right for record in noise_into), noise_into),
        ready_s=None if ready_s is None else round(ready_s, 3),
        stages_p50_ms=_stages([record for record in turns if record.outcome == "answered"]),
        notes=tuple(notes),
        turn_records=tuple(records),
        barge_in_records=tuple(barge_ins),
    )


def _cold_over_warm(records: Sequence[TurnRecord], warm: Sequence[TurnRecord]) -> float | None:
    ratios = []
    for cold in records:
        same = [one.ttfa_ms for one in warm if one.clip == cold.clip and one.ttfa_ms is not None]
        if cold.cold and cold.ttfa_ms is not None and same:
            ratios.append(cold.ttfa_ms / statistics.median(same))
    return round(statistics.median(ratios), 3) if ratios else None


def _rate(count: int, of: Sequence[object]) -> float | None:
    return round(count / len(of), 6) if of else None


def _per_turn(total_s: float | None, costs: Sequence[float], turns: Sequence[TurnRecord]) -> float | None:
    if total_s is not None:
        return round(total_s / len(turns), 4) if turns else None
    return round(sum(costs) / len(costs), 4) if costs else None


def _hit_rate(turns: Sequence[TurnRecord], one_breath: frozenset[str]) -> float | None:
    hits = [record.speculation_hit for record in turns if record.clip in one_breath]
    known = [hit for hit in hits if hit is not None]
    return round(sum(known) / len(known), 6) if known else None


def _stages(answered: Sequence[TurnRecord]) -> StageTimes:
    medians: dict[str, float | None] = {}
    for field in fields(StageTimes):
        values = [value for record in answered if (value := getattr(record.stages, field.name)) is not None]
        medians[field.name] = round(statistics.median(values), 3) if values else None
    return StageTimes(**medians)
