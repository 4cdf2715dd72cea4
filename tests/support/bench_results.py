"""Results of benchmark runs that never were: the shape of real ones, from a seed."""

from __future__ import annotations

import random
from typing import Any

from antiphon.benchmarks.metrics import summarise
from antiphon.benchmarks.records import BenchResult, ConfigResult, StageTimes, TurnRecord
from antiphon.benchmarks.result import to_dict

SENTENCES = (
    "What's the weather like today?",
    "Could you set a timer for ten minutes, please?",
    "I would like a table for two people, um, at half past seven tomorrow evening.",
    "My number is five five five, one two three four.",
    "Tell me a joke.",
    "What time does the next train to Leeds leave, and from which platform?",
)


def turn(
    rng: random.Random,
    at: int,
    *,
    run: int = 0,
    commit_ms: float = 210.0,
    compute_ms: float = 40.0,
    cutoff: float = 0.03,
    missed: float = 0.02,
    errors: float = 0.05,
    speculates: bool = True,
    peer: bool = False,
    cold: bool = False,
    concurrency: int = 1,
    split: str = "",
) -> TurnRecord:
    """One turn with speech."""
    reference = SENTENCES[at % len(SENTENCES)]
    words = len(reference.split())
    wrong = sum(rng.random() < errors for _ in range(words))
    common: dict[str, Any] = {
        "clip": f"clip_{at:03d}.wav",
        "kind": "turn",
        "lang": "en",
        "split": split,
        "run": run,
        "cold": cold,
        "concurrency": concurrency,
        "reference": reference,
        "heard": reference if not wrong else reference.replace("the", "a").replace("ten", "then"),
        "words": words,
        "word_errors": wrong,
        "characters": len(reference),
        "character_errors": 2 * wrong,
        "cpu_s": rng.uniform(0.35, 0.7) * (1.3 if peer else 1.0),
        "end_probability": None if peer else round(rng.uniform(0.3, 0.99), 3),
    }
    luck = rng.random()
    if luck < cutoff:
        early = -rng.uniform(200, 2600)
        return TurnRecord(
            **{**common, "heard": " ".join(reference.split()[: words // 2])},
            outcome="cutoff",
            why=f"committed {-early:.0f} ms before the end of speech",
            stages=StageTimes(vad_stop_ms=early - 120, commit_ms=early, stt_ms=early + 30, first_token_ms=early + 90),
            commits=2,
        )
    if luck < cutoff + missed:
        return TurnRecord(
            **{**common, "heard": "", "word_errors": words},
            outcome="missed",
            why="no audible sample within 10 s",
            stages=StageTimes(),
        )
    commit = commit_ms * rng.lognormvariate(0.0, 0.25) + (350 if rng.random() < 0.12 else 0)
    compute = compute_ms * rng.lognormvariate(0.0, 0.5) * (2.2 if cold else 1.0)
    ttfa = commit + compute
    begun = 60.0 if speculates else commit
    stt, token, clause, audio = (begun + (ttfa - 12 - begun) * part for part in (0.3, 0.55, 0.75, 0.98))
    if speculates:
        stt, token, clause, audio = begun + 45, begun + 95, begun + 130, begun + 185
        stt = rng.choice((stt, -40.0 * rng.random()))
        audio = min(audio, ttfa - 8)
        clause = min(clause, audio - 5)
    stages = StageTimes(
        vad_stop_ms=None if peer else 64.0 + rng.uniform(0, 60),
        commit_ms=None if peer else commit,
        stt_ms=stt,
        first_token_ms=token,
        first_clause_ms=None if peer else clause,
        first_audio_ms=audio,
        audible_ms=ttfa,
    )
    return TurnRecord(
        **common,
        outcome="answered",
        ttfa_ms=ttfa,
        commit_delay_ms=None if peer else commit,
        compute_after_commit_ms=None if peer else compute,
        stages=stages,
        reply="Sure, I can help with that.",
        commits=1,
        speculations=rng.choice((1, 1, 2)) if speculates else 0,
        speculation_hit=rng.random() < 0.88 if speculates else None,
        wasted_s=rng.uniform(0.02, 0.2) if speculates else None,
        reply_s=2.1,
    )


def one_config(
    rng: random.Random, name: str, *, turns: int = 20, runs: int = 2, noise: int = 2, **how: Any
) -> ConfigResult:
    """A configuration with its records: `turns` clips of speech in each run, the first turn cold."""
    settings = how.pop("settings", None)
    halves = how.pop("halves", False)
    records = []
    for run in range(runs):
        for at in range(turns):
            split = ("tune", "held_out")[at % 2] if halves else ""
            records.append(turn(rng, at, run=run, cold=run == 0 and at == 0, split=split, **how))
        for at in range(noise):
            records.append(
                TurnRecord(
                    clip=f"noise_{at}.wav",
                    kind="noise",
                    lang="-",
                    run=run,
                    outcome="false_start" if rng.random() < 0.1 else "quiet",
                    why="",
                )
            )
    return summarise(
        name,
        records,
        settings=settings,
        concurrency=how.get("concurrency", 1),
        peak_rss_mb=rng.uniform(500, 1400),
        ready_s=rng.uniform(2, 6),
        one_breath=[f"clip_{at:03d}.wav" for at in range(turns)],
    )


def run_result(seed: int = 1, *, configs: int = 3, peers: int = 3, turns: int = 20, runs: int = 2) -> BenchResult:
    """A plain run: configurations and peers."""
    rng = random.Random(seed)
    names = ["tiny.yaml", "local.yaml", "webrtcvad.yaml", *(f"other_{at}.yaml" for at in range(9))]
    shapes = ((210.0, 35.0, 0.03), (220.0, 130.0, 0.03), (330.0, 40.0, 0.08), (260.0, 60.0, 0.04))
    made = [
        one_config(rng, names[at], turns=turns, runs=runs, commit_ms=commit, compute_ms=compute, cutoff=cutoff)
        for at in range(configs)
        for commit, compute, cutoff in [shapes[at % len(shapes)]]
    ]
    others = (
        ("Pipecat 1.14.0", 900.0, 660.0),
        ("LiveKit Agents 1.8.9", 850.0, 730.0),
        ("agents.voice 0.24", 0.1, 1060.0),
    )
    rivals = [
        one_config(
            rng, name, turns=turns, runs=1, noise=1, commit_ms=commit, compute_ms=compute, speculates=False, peer=True
        )
        for name, commit, compute in (others[at % 3] for at in range(peers))
    ]
    return BenchResult(
        created="2026-11-20T10:00:00+00:00",
        command="antiphon bench run tiny.yaml local.yaml webrtcvad.yaml --clips clips --out out --where lang=en",
        machine={
            "processor": "Example CPU at 2.1 GHz",
            "architecture": "x86_64",
            "cores": 2,
            "features": ["avx2", "avx512"],
            "memory_gib": 24.0,
            "system": "Linux 6.1",
        },
        versions={"python": "3.11.9 (CPython)", "antiphon": "0.1.0", "onnxruntime": "1.20.0", "numpy": "2.1.0"},
        commit="65c5f26aa0b1c2d3e4f5061728394a5b6c7d8e9f",
        clips={"name": "clips", "clips": turns + 2, "where": ["lang=en"], "index_sha256": "ab" * 32},
        configs=tuple(made),
        peers=tuple(rivals),
    )


def full_result(seed: int = 1, *, turns: int = 20) -> dict[str, Any]:
    """Everything at once: a run with peers, a sweep, an ablation and a load test."""
    rng = random.Random(seed)
    base = to_dict(run_result(seed, turns=turns))
    configs: list[dict[str, Any]] = list(base["configs"])

    def put(result: ConfigResult) -> int:
        configs.append(to_dict_of(result))
        return len(configs) - 1

    points = []
    for threshold in (0.3, 0.5, 0.7):
        for wait in (160, 240, 400, 600):
            settings = {"turn.threshold": threshold, "turn.wait_ms": wait}
            result = one_config(
                rng, "tiny.yaml", turns=40, runs=1, settings=settings, halves=True, commit_ms=wait * (0.6 + threshold),
                cutoff=max(0.0, 0.42 - 0.3 * threshold - wait / 2000), noise=0,
            )  # fmt: skip
            points.append({"settings": settings, "result": put(result)})
    levers = []
    effects = {
        "all on": 0, "speculation": 260, "window": 90, "graph_cut": 22, "prefill": 18, "first_clause": 45, "threads": 0
    }  # fmt: skip
    for lever, worse in effects.items():
        result = one_config(
            rng, "tiny.yaml", turns=20, runs=2, settings={"ablate": lever}, compute_ms=35.0 + worse,
            speculates=lever != "speculation", noise=0,
        )  # fmt: skip
        levers.append({"lever": lever, "result": put(result)})
    steps = []
    for sessions in range(1, 9):
        slower = 35.0 * 1.55**sessions
        result = one_config(
            rng, "tiny.yaml", turns=20, runs=1, concurrency=sessions, compute_ms=slower,
            missed=0.0 if sessions < 6 else 0.08 * (sessions - 5), noise=0,
        )  # fmt: skip
        step = {"sessions": sessions, "result": put(result), "loop_lag_ms": {"p50": 0.4, "p999": 1.5 * sessions**1.4}}
        steps.append({**step, "broken": "p95 above 1500 ms"} if sessions >= 7 else step)
    return {
        **base,
        "configs": configs,
        "sweep": {"keys": ["turn.threshold", "turn.wait_ms"], "points": points},
        "ablation": {"levers": levers},
        "load": {"config": "tiny.yaml", "steps": steps},
    }


def to_dict_of(result: ConfigResult) -> dict[str, Any]:
    made: dict[str, Any] = to_dict(BenchResult(configs=(result,)))["configs"][0]
    return made
