"""What full soak runs found: kept in `tests/soak/results.json`, shown as tables in `docs/soak.md`."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from room import Tally
from soak_gauge import Gauge, Held

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "tests" / "soak" / "results.json"
PAGE = ROOT / "docs" / "soak.md"
BEGIN, END = "<!-- results: written by make soak -->", "<!-- end of results -->"

TURNS = {
    "one_session": "one session, scripted engines",
    "many_sessions": "many sessions, scripted engines",
    "real_engines": "three sessions at once, real engines",
}
KILLS = {
    "kills_real_session": "the real session, SQLite",
    "kills_stand_in": "a stand-in that comes to more places, SQLite",
    "kills_postgresql": "the stand-in, PostgreSQL",
}
PARTS = (*TURNS, *KILLS)
_PACKAGES = ("numpy", "openai-agents", "sqlalchemy", "faster-whisper", "ctranslate2", "llama-cpp-python",
             "onnxruntime")  # fmt: skip
_MB = 1_000_000


def commit() -> str:
    """The commit of the tree under test; "" outside a repository."""
    asked = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() if asked.returncode == 0 else ""


def machine() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        if line.startswith("model name")
    ]
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}, {gib:.0f} GiB"


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


class Stopwatch:
    """Of real time, from when it is made."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began_s


def write_turns(part: str, tally: Tally, gauge: Gauge, seconds: float, sessions: int) -> None:
    """Keep what a run over many turns found. The gauge must have seen resident memory."""
    marks = [gauge.samples[0], *(_at(gauge.samples, turns) for turns in range(100, tally.turns + 1, 100))]
    first, last = gauge.warm[0], gauge.warm[-1]
    _write(
        part,
        {
            "sessions": sessions,
            "turns": tally.turns,
            "seconds": round(seconds),
            "interrupted": tally.events["interrupted"],
            "resumed": tally.resumed.total(),
            "reopened": tally.reopened,
            "tool_calls": tally.events["tool_call"],
            "failed": tally.statuses["failed"],
            "warm_up": gauge.warm_up,
            "resident_mb": {str(held.turns): round(held.bytes / _MB, 1) for held in marks},
            "kb_per_100_turns": round(gauge.slope / 1000),
            "before": [first.tasks, first.threads, first.handles],
            "after": [last.tasks, last.threads, last.handles],
        },
    )


def write_kills(part: str, kills: Any, seconds: float) -> None:
    """Keep what a series of kills found (:class:`transcript_kills.Kills`)."""
    _write(
        part,
        {
            "processes": sum(kills.stages.values()) + kills.finished,
            "killed": sum(kills.stages.values()),
            "stages": len(kills.stages),
            "did": sum(kills.did[name] for name in ("acted", "tool_ran", "played")),
            "in_doubt": kills.doubtful,
            "missing": len(kills.missing),
            "seconds": round(seconds),
        },
    )


def read() -> dict[str, Any]:
    return dict(json.loads(RESULTS.read_text("utf-8"))) if RESULTS.exists() else {}


def _at(samples: Sequence[Held], turns: int) -> Held:
    return min(samples, key=lambda held: abs(held.turns - turns))


def _write(part: str, found: dict[str, Any]) -> None:
    assert part in PARTS
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    about = {"date": when, "commit": commit(), "machine": machine(), "versions": versions()}
    results = {**read(), part: about | found}
    ordered = {name: results[name] for name in PARTS if name in results}
    RESULTS.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables(ordered)}\n{END}{rest.partition(END)[2]}", "utf-8")


# ------------------------------------------------------------------------------------------------ tables


def tables(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    return f"### Turns\n\n{_turns(results)}\n### Kills\n\n{_kills(results)}\n### Made on\n\n{_made_on(results)}"


def _turns(results: dict[str, Any]) -> str:
    found = {name: results[name] for name in TURNS if name in results}
    rows = [["", *(TURNS[name] for name in found)], ["---"] * (len(found) + 1)]
    plain = {
        "date": "date",
        "commit": "commit",
        "sessions": "sessions",
        "turns": "turns that ended",
        "seconds": "seconds",
        "interrupted": "replies that were stopped",
        "resumed": "false interruptions: replies that went on",
        "reopened": "turns that were reopened",
        "tool_calls": "tool calls",
        "failed": "turns with an error, answered by the apology",
    }
    rows += [[title, *(str(one[key]) for one in found.values())] for key, title in plain.items()]
    for turns in range(0, max((one["turns"] for one in found.values()), default=0) + 1, 100):
        cells = [_resident(one["resident_mb"], turns) for one in found.values()]
        rows.append([f"resident memory after {turns} turns" if turns else "resident memory at first", *cells])
    rows.append(["growth a 100 turns", *(f"{one['kb_per_100_turns']} kB" for one in found.values())])
    rows.append(["from turn", *(str(one["warm_up"]) for one in found.values())])
    for index, name in enumerate(("tasks", "threads", "file handles")):
        cells = [f"{one['before'][index]}, {one['after'][index]}" for one in found.values()]
        rows.append([f"{name}: then, at the end", *cells])
    return _table(rows)


def _resident(marks: dict[str, float], turns: int) -> str:
    """The sample for this mark: the first for 0, else the nearest one."""
    near = sorted(marks, key=lambda mark: abs(int(mark) - turns))
    if turns and (not near or abs(int(near[0]) - turns) > 25):
        return ""
    return f"{marks[near[0]]:.1f} MB"


def _kills(results: dict[str, Any]) -> str:
    rows = [["", "date", "commit", "processes", "killed at their moment", "stages", "acted, ran a tool, played a piece",
             "calls in doubt", "missing"], ["---"] * 9]  # fmt: skip
    for name, title in KILLS.items():
        if one := results.get(name):
            keys = ("date", "commit", "processes", "killed", "stages", "did", "in_doubt", "missing")
            rows.append([title, *(str(one[key]) for key in keys)])
    return _table(rows)


def _made_on(results: dict[str, Any]) -> str:
    lines = {
        f"- {one['machine']}; " + ", ".join(f"{name} {number}" for name, number in one["versions"].items())
        for one in results.values()
    }
    return "\n".join(sorted(lines)) + "\n"


def _table(rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
