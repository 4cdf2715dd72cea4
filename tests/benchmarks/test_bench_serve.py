"""`antiphon bench serve`: a server of scripted engines in a process of its own, measured from outside."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from bench_clips import Made, write_clips
from scripted_engines import write_config
from typer.testing import CliRunner

from antiphon.benchmarks.paired import Estimate
from antiphon.benchmarks.records import ConfigResult, TurnRecord
from antiphon.benchmarks.result import ResultError
from antiphon.benchmarks.server.added import Added, added, lag_between
from antiphon.benchmarks.server.growth import measure_cycles, measure_idle
from antiphon.benchmarks.server.process import ServerProcess
from antiphon.benchmarks.server.stream import as_event
from antiphon.pipeline.cli import app
from antiphon.pipeline.events import Timings, TurnEnded

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration whose server hears the clips' tone."""
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    return write_config(tmp_path, vad='{engine: "loud_vad:LoudVad"}')


def test_idle_conversations_and_those_that_come_and_go(scripted: Path) -> None:
    async def main() -> None:
        async with ServerProcess(str(scripted), ["server.max_sessions=100", "server.capacity=off"]) as server:
            idle = await measure_idle(server, 3, seconds=0.5)
            assert idle.during.tasks > idle.before.tasks and idle.during.fds >= idle.before.fds + 3
            assert (idle.after.tasks, idle.after.fds) == (idle.before.tasks, idle.before.fds)
            cycles = await measure_cycles(server, 30)
            assert cycles.block()["grew"]["tasks"] == 0 and cycles.block()["grew"]["fds"] == 0
            figures = await server.figures()
            assert figures['antiphon_sessions_total{protocol="stream"}'] >= 3 + 10
            assert figures['antiphon_sessions_total{protocol="realtime"}'] >= 10
            assert figures['antiphon_sessions_open{protocol="stream"}'] == 0

    asyncio.run(main())


def test_a_server_that_does_not_start_says_why(scripted: Path) -> None:
    async def main() -> None:
        with pytest.raises(ResultError, match="did not become ready") as caught:
            async with ServerProcess(str(scripted), ["server.colour=red"]):
                pass
        assert "colour" in caught.value.hint

    asyncio.run(main())


def test_the_command_measures_fronts_and_conversations(scripted: Path, tmp_path: Path) -> None:
    clips, out = write_clips(tmp_path / "clips", Made(transcript="hello there")), tmp_path / "out"
    words = ["bench", "serve", str(scripted), "--clips", str(clips), "--out", str(out), "--fronts", "stream"]
    words += ["--sessions", "2", "--turns", "1", "--idle", "0", "--cycles", "0", "--warmup", "0", "--runs", "2"]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    written = json.loads((out / "result.json").read_text())
    names = [one["config"] for one in written["configs"]]
    assert names == ["scripted.yaml", "stream", "scripted.yaml"]
    assert all(one["answered"] == one["turns"] > 0 for one in written["configs"])
    assert [one["front"] for one in written["serve"]["added"]] == ["stream"]
    assert all(one["ttfa_ms"]["pairs"] > 0 for one in written["serve"]["added"])
    assert written["serve"]["added"][0]["way_out_ms"] is not None
    assert written["load"]["steps"][0]["result"] == 2 and written["configs"][2]["concurrency"] == 2
    assert written["serve"]["event_loop_lag"]["wake_ups"] > 20
    assert re.search(r"2 live: TTFA p50 \d+ ms", result.output) and "added to TTFA" in result.output


@pytest.mark.parametrize("fronts", ["phone", "stream,phone"])
def test_a_front_that_is_none_is_told(scripted: Path, tmp_path: Path, fronts: str) -> None:
    words = ["bench", "serve", str(scripted), "--clips", str(tmp_path), "--out", str(tmp_path), "--fronts", fronts]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2 and "'phone' is none of" in result.output


def turn(clip: str, ttfa_ms: float | None) -> TurnRecord:
    outcome: Any = "answered" if ttfa_ms is not None else "missed"
    return TurnRecord(clip=clip, kind="made", lang="en", run=0, outcome=outcome, ttfa_ms=ttfa_ms)


def test_what_a_front_adds_is_told_of_turns_that_both_answered() -> None:
    own = ConfigResult(config="x", turn_records=tuple(turn(f"{n}", 500.0 + n) for n in range(7)))
    over = ConfigResult(config="stream", turn_records=tuple(turn(f"{n}", 512.0 + n if n else None) for n in range(7)))
    found = added("realtime", own, over)
    assert found.ttfa_ms == Estimate(12.0, (12.0, 12.0), 6, 6) and found.holds
    assert not Added("realtime", Estimate(21.0, None, 1, 1)).holds
    assert Added("webrtc", Estimate(110.0, None, 1, 1)).holds
    assert added("stream", own, ConfigResult(config="stream")).holds is None


def lag(**below: float) -> dict[str, float]:
    name = "antiphon_event_loop_lag_seconds"
    counts = {f'{name}_bucket{{le="{bound[1:].replace("_", ".")}"}}': value for bound, value in below.items()}
    return {**counts, f'{name}_bucket{{le="+Inf"}}': below["b1_0"], f"{name}_count": below["b1_0"]}


def test_the_lag_between_two_looks() -> None:
    before = lag(b0_01=100, b0_02=100, b0_05=100, b1_0=100)
    after = lag(b0_01=1000, b0_02=1095, b0_05=1099, b1_0=1100)
    assert lag_between(before, after) == {"wake_ups": 1000, "later_than_20_ms": 0.005, "p999_below_ms": 50.0}
    assert lag_between(before, before) == {"wake_ups": 0, "later_than_20_ms": None, "p999_below_ms": None}


def test_events_come_back_as_they_were() -> None:
    event = TurnEnded(t_s=1.0, audio_s=2.0, session="s", turn=3, status="completed", text="Noon.",
                      timings=Timings(speech_end_s=0.1, audible_s=0.9))  # fmt: skip
    assert as_event(json.loads(json.dumps(event.to_dict()))) == event
    assert as_event({"type": "usage", "t_s": 1.0}) is None
