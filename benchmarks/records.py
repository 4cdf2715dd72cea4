"""What a benchmark run writes down: one record a turn, one summary a configuration, all of it in `result.json`.

Times of a turn are milliseconds from its last speech sample by ground truth (negative: before it). Rates are 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA_VERSION = 1

Outcome = Literal["answered", "cutoff", "missed", "failed", "quiet", "false_start"]
"""How a turn ended.

answered      one answer to the whole turn, begun after its end: the only outcome with a TTFA.
cutoff        the turn was split, or sound came before its end, or the answer is to a part of it.
missed        no audible answer in time (also: opened by a filler, a click or a breath only).
failed        an engine broke.
quiet         a clip without speech started no turn: as it should be.
false_start   a clip without speech started one.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTimes:
    """The waterfall: when each step was done, in ms from the last speech sample by ground truth; None: not at all."""

    vad_stop_ms: float | None = None
    """The VAD was sure of silence."""
    commit_ms: float | None = None
    stt_ms: float | None = None
    """The transcript that was answered was there."""
    first_token_ms: float | None = None
    first_clause_ms: float | None = None
    first_audio_ms: float | None = None
    """TTS gave its first chunk."""
    audible_ms: float | None = None
    """The first sample above 1 % of full scale was at the sink."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRecord:
    """One turn of one configuration (or peer)."""

    clip: str
    kind: str
    lang: str
    scenario: str = ""
    split: str = ""
    dialogue: str = ""
    run: int
    """From 0; every clip is played once a run."""
    cold: bool = False
    """The first turn after the engines were loaded."""
    concurrency: int = 1
    outcome: Outcome
    why: str = ""
    """Of an outcome that is not "answered" or "quiet": what was seen."""
    ttfa_ms: float | None = None
    commit_delay_ms: float | None = None
    """Commit event less the end of speech; None: none, or more than one."""
    compute_after_commit_ms: float | None = None
    """TTFA less the commit delay: what speculation did not hide."""
    end_probability: float | None = None
    """What the turn detector said last before commit."""
    reference: str = ""
    heard: str = ""
    """The final transcript, pieces of a split turn joined."""
    reply: str = ""
    words: int | None = None
    """Of the reference after normalising; None: no reference."""
    word_errors: int | None = None
    characters: int | None = None
    character_errors: int | None = None
    stages: StageTimes = field(default_factory=StageTimes)
    commits: int = 0
    speculations: int = 0
    """Runs begun before commit."""
    speculation_hit: bool | None = None
    """The answer was begun before commit and kept; None: speculation was off or the turn had no commit."""
    wasted_s: float | None = None
    """Engine time of re-runs and of work that was dropped."""
    reopened: int = 0
    cpu_s: float | None = None
    """CPU time of the whole process (peers: and of its children) over the turn."""
    reply_s: float | None = None
    """Audio of the reply."""
    underruns: int = 0
    """Gaps in the played audio of the reply."""
    underrun_ms: float = 0.0
    cached_tokens: int | None = None
    prompt_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BargeInRecord:
    """One clip that was played into a long reply."""

    clip: str
    speech: bool
    """Somebody speaks in it; a clip without speech must stop nothing."""
    stop_ms: float | None = None
    """From the first speech sample to the last audible sample of the reply; None: it went on to its end."""
    decided_ms: float | None = None
    """From the first speech sample to the decision that it is an interruption; None: there was none."""
    right: bool
    """Speech stopped the reply; noise left every sample of it to be heard."""
    why: str = ""
    """What went wrong, where nothing could be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Percentiles of one number over turns. All None when `n` is 0."""

    n: int = 0
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    max: float | None = None
    p50_interval: tuple[float, float] | None = None
    """95 % bootstrap interval."""
    p95_interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigResult:
    """All turns of one configuration, or of one peer, at one concurrency."""

    config: str
    """A configuration's file name, or a peer's name."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What was set on top of it (`--set`, a sweep's point, an ablation's lever)."""
    concurrency: int = 1
    turns: int = 0
    """Turns with speech."""
    answered: int = 0
    cutoffs: int = 0
    missed: int = 0
    failed: int = 0
    ttfa_ms: Summary = field(default_factory=Summary)
    """Warm turns."""
    ttfa_cold_ms: Summary = field(default_factory=Summary)
    cold_over_warm: float | None = None
    """Median over cold turns: TTFA over the median TTFA of warm turns on the same clip."""
    commit_delay_ms: Summary = field(default_factory=Summary)
    compute_after_commit_ms: Summary = field(default_factory=Summary)
    false_cutoff_rate: float | None = None
    missed_rate: float | None = None
    noise_clips: int = 0
    false_start_rate: float | None = None
    """Of clips without speech."""
    words: int = 0
    word_errors: int = 0
    wer: float | None = None
    cer: float | None = None
    speculation_hit_rate: float | None = None
    """Of turns said in one breath (no pause in their speech)."""
    wasted_s_per_turn: float | None = None
    cpu_s_per_turn: float | None = None
    peak_rss_mb: float | None = None
    underruns: int = 0
    barge_in_stop_ms: Summary | None = None
    """From the first speech sample of clips played into replies to silence; None: not measured (`--barge-in`)."""
    missed_interruption_rate: float | None = None
    """Of clips with speech that were played into replies: the reply went on."""
    false_interruption_rate: float | None = None
    """Of clips without speech that were played into replies: the reply was ended."""
    ready_s: float | None = None
    """From start to ready for the first turn."""
    stages_p50_ms: StageTimes = field(default_factory=StageTimes)
    notes: tuple[str, ...] = ()
    turn_records: tuple[TurnRecord, ...] = ()
    barge_in_records: tuple[BargeInRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """`result.json`."""

    schema_version: int = SCHEMA_VERSION
    created: str = ""
    """UTC, ISO 8601."""
    command: str = ""
    complete: bool = True
    """False: it was stopped before its end."""
    machine: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    commit: str = ""
    clips: dict[str, Any] = field(default_factory=dict)
    """The set: its name, how many clips, conditions, a hash of its index."""
    configs: tuple[ConfigResult, ...] = ()
    peers: tuple[ConfigResult, ...] = ()
    sweep: dict[str, Any] | None = None
    """Of `bench sweep`: {"keys": [...], "points": [{"settings": {...}, "result": index into configs}]}"""
    ablation: dict[str, Any] | None = None
    """Of `bench ablate`: {"levers": [{"lever": ..., "result": index into configs}]}, the first with all levers on."""
    load: dict[str, Any] | None = None
    """Of `bench load`: {"config": ..., "steps": [{"sessions": n, "result": index, "loop_lag_ms": Summary, ...}]}"""
    serve: dict[str, Any] | None = None
    """Of `bench serve`: {"config": ..., "added": [...], "event_loop_lag": ..., "idle": ..., "cycles": ...}"""
