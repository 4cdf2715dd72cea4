"""`antiphon bench compare`, `sweep`, `load` and `ablate` on scripted engines: arguments, files, tables, exit codes."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from bench_clips import Made, write_clips
from rich.console import Console
from scripted_engines import write_config
from typer.testing import CliRunner, Result

from antiphon.benchmarks.report import render_report
from antiphon.benchmarks.result import json_schema
from antiphon.benchmarks.variants import Memory
from antiphon.engines.testing import run_virtual
from antiphon.pipeline.cli import app
from antiphon.pipeline.cli.bench_overall import Overall
from antiphon.pipeline.cli.common import EXIT_CODES


@pytest.fixture(autouse=True)
def _no_real_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "run", run_virtual)


def bench(*arguments: str | Path | float) -> Result:
    words = ["bench", *(str(argument) for argument in arguments)]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "80", "NO_COLOR": "1", "TERMINAL_WIDTH": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    assert result.exit_code in EXIT_CODES
    return result


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(
        tmp_path, vad='{engine: "loud_vad:LoudVad"}', stt='{engine: "scripted_engines:Stt", says: what time is it}'
    )


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return write_clips(tmp_path / "set", *(Made(f"{name}.wav") for name in "abcdef"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def written(out: Path) -> dict[str, Any]:
    """The result, valid by its schema and fit for the report."""
    data: dict[str, Any] = json.loads((out / "result.json").read_text())
    jsonschema.validate(data, json_schema())
    assert (out / "report.html").read_text("utf-8") == render_report(data)
    return data


def rows(result: Result, first: str) -> list[str]:
    """Lines of the table that begin with a text."""
    return [line for line in result.output.splitlines() if line.lstrip("* ").startswith(first) and ".wav" not in line]


# ---------------------------------------------------------------------------------------------- sweep


def test_a_sweep_writes_every_point_and_marks_the_front(config: Path, clips: Path, out: Path) -> None:
    result = bench(
        "sweep", config, "--grid", "turn.silence_ms=200,700", "--grid", "speculation.enabled=true,false",
        "--clips", clips, "--out", out, "--where", "lang=en",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    data = written(out)
    assert data["sweep"]["keys"] == ["turn.silence_ms", "speculation.enabled"]
    assert [point["settings"] for point in data["sweep"]["points"]] == [
        {"turn.silence_ms": wait, "speculation.enabled": on} for wait in ("200", "700") for on in ("true", "false")
    ]
    assert data["sweep"]["order"] == "each clip to every variant in turn"
    for point in data["sweep"]["points"]:
        one = data["configs"][point["result"]]
        assert (one["config"], one["settings"], one["turns"]) == ("scripted.yaml", point["settings"], 6)
        assert abs(one["commit_delay_ms"]["p50"] - float(point["settings"]["turn.silence_ms"])) < 50
    assert data["command"] == (
        "antiphon bench sweep scripted.yaml --clips set --where lang=en --grid turn.silence_ms=200,700 "
        "--grid speculation.enabled=true,false"
    )
    assert "24/24  scripted.yaml turn.silence_ms=700 speculation.enabled=false  f.wav  " in result.output
    (best,) = [line for line in result.output.splitlines() if line.startswith("* ") and "200 " in line]
    assert "6/6" in best
    assert "order: each clip to every variant in turn" in result.output


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        (["turn.silence=1,2"], "--grid: turn.silence: unknown key; did you mean 'silence_ms'?"),
        (["turn.silence_ms=1,x"], "--grid: turn.silence_ms"),
        (["turn.silence_ms"], "KEY=VALUE"),
        (["turn.silence_ms=1,1"], "twice"),
        (["turn.silence_ms=100", "turn.silence_ms=200"], "is there twice"),
        (["gate.stop_ms=" + ",".join(map(str, range(64, 164)))], "100 points; at most 64"),
        ([], "--grid"),
    ],
)
def test_a_wrong_grid_is_refused_before_anything_is_loaded(
    config: Path, clips: Path, out: Path, grid: list[str], told: str
) -> None:
    result = bench("sweep", config, *(word for one in grid for word in ("--grid", one)), "--clips", clips, "--out", out)
    assert result.exit_code == 2
    assert told in result.output
    assert not out.exists()


def test_a_sweep_that_does_not_fit_into_memory_says_so(
    config: Path, clips: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Memory, "free", lambda self: 1)
    result = bench("sweep", config, "--grid", "turn.silence_ms=200,700", "--clips", clips, "--out", out, "--limit", 1)
    assert result.exit_code == 0, result.output
    told = "one variant after another: memory does not hold them all"
    assert written(out)["sweep"]["order"] == told
    assert f"order: {told}" in result.output


def test_a_sweep_that_is_stopped_keeps_what_was_measured(
    config: Path, clips: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def stop(self: Any, turn: Any) -> None:
        seen.append(turn)
        if len(seen) == 5:  # two cold turns, the first clip on both points, the second on the first
            raise KeyboardInterrupt

    monkeypatch.setattr(Overall, "on_turn", stop)
    result = bench("sweep", config, "--grid", "turn.silence_ms=200,700", "--clips", clips, "--out", out)
    assert result.exit_code == 130
    data = written(out)
    assert data["complete"] is False
    assert [data["configs"][point["result"]]["turns"] for point in data["sweep"]["points"]] == [2, 1]


# --------------------------------------------------------------------------------------------- ablate


def test_an_ablation_writes_all_on_and_each_lever_off(config: Path, clips: Path, out: Path) -> None:
    slow = write_config(
        config.parent,
        vad='{engine: "loud_vad:LoudVad"}',
        stt='{engine: "scripted_engines:Stt", says: what time is it}',
        llm='{engine: "scripted_engines:Llm", delta_delay_s: 0.2}',
    )
    result = bench("ablate", slow, "--clips", clips, "--out", out)
    assert result.exit_code == 0, result.output
    data = written(out)
    assert [lever["lever"] for lever in data["ablation"]["levers"]] == [
        "all on", "speculation", "hearing_ahead", "prefill", "first_clause"
    ]  # fmt: skip
    assert [one["lever"] for one in data["ablation"]["left_out"]] == ["window", "slices", "llm_threads", "adaptation"]
    for lever in data["ablation"]["levers"]:
        assert data["configs"][lever["result"]]["settings"] == lever.get("off", {})
    without = data["ablation"]["levers"][1]
    assert without["verdict"] == "earns its place"
    assert without["ttfa_later_ms"]["median"]["interval"][0] > 100
    assert "left out: window: stt is scripted_engines:Stt, which has no 'window_floor_s'" in result.output
    (row,) = rows(result, "without speculation")
    assert "earns its place" in row
    (base,) = rows(result, "all on")
    assert "6/6" in base


def test_levers_can_be_chosen(config: Path, clips: Path, out: Path) -> None:
    result = bench(
        "ablate",
        config,
        "--clips",
        clips,
        "--out",
        out,
        "--levers",
        "prefill",
        "--limit",
        2,
        "--set",
        "gate.stop_ms=96",
    )
    assert result.exit_code == 0, result.output
    data = written(out)
    assert [lever["lever"] for lever in data["ablation"]["levers"]] == ["all on", "prefill"]
    assert data["ablation"]["levers"][1]["verdict"] == "too few clips to tell"
    assert data["command"].endswith("--set gate.stop_ms=96 --limit 2 --levers prefill")
    assert [one["settings"] for one in data["configs"]] == [
        {"gate.stop_ms": "96"},
        {"gate.stop_ms": "96", "speculation.prefill": "false"},
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--levers", "magic"], "levers: speculation, hearing_ahead"),
        (["--levers", "window"], "none of the levers can be switched off"),
        (["--set", "turn.nonsense=1"], "--set: turn.nonsense"),
    ],
)
def test_wrong_levers_are_refused_before_anything_is_loaded(
    config: Path, clips: Path, out: Path, arguments: list[str], told: str
) -> None:
    result = bench("ablate", config, "--clips", clips, "--out", out, *arguments)
    assert result.exit_code == 2
    assert told in result.output
    assert not out.exists()


# ----------------------------------------------------------------------------------------------- load


def test_a_load_test_writes_each_step_with_its_lag(config: Path, clips: Path, out: Path) -> None:
    result = bench("load", config, "--clips", clips, "--out", out, "--sessions", "3,1", "--turns", 2)
    assert result.exit_code == 0, result.output
    data = written(out)
    assert (data["load"]["config"], data["load"]["breaks_at"]) == ("scripted.yaml", None)
    for index, (step, sessions) in enumerate(zip(data["load"]["steps"], (1, 3), strict=True)):
        assert (step["sessions"], step["result"]) == (sessions, index)
        assert step["loop_lag_p999_ms"] == step["loop_lag_ms"]["p999"] == 0
        one = data["configs"][index]
        assert (one["concurrency"], one["turns"], one["answered"]) == (sessions, 2 * sessions, 2 * sessions)
    assert data["command"] == "antiphon bench load scripted.yaml --clips set --sessions 3,1 --turns 2"
    assert "8/8  scripted.yaml x3  " in result.output
    assert "it did not break" in result.output


def test_where_it_breaks_is_told_and_is_no_failure_of_the_command(config: Path, clips: Path, out: Path) -> None:
    result = bench(
        "load", config, "--clips", clips, "--out", out, "--sessions", "1,2", "--turns", "1", "--p95-limit", "10"
    )
    assert result.exit_code == 0, result.output
    assert written(out)["load"]["breaks_at"] == 1
    assert "broken: p95 above 10 ms" in result.output
    assert "it breaks at 1 sessions" in result.output
    failing = write_config(
        config.parent, vad='{engine: "loud_vad:LoudVad"}', stt='{engine: "scripted_engines:Stt", says: break at once}'
    )
    result = bench("load", failing, "--clips", clips, "--out", out, "--sessions", "1", "--turns", "2", "--force")
    assert result.exit_code == 0, result.output
    assert written(out)["load"]["steps"][0]["broken"] == "2 of 2 turns missed or failed"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--sessions", "0,1"], 2, "1,2,4"),
        (["--sessions", "many"], 2, "--sessions"),
        (["--turns", "0"], 2, "--turns"),
        (["--minutes", "0"], 2, "--minutes"),
        (["--missed-limit", "2"], 2, "--missed-limit"),
        (["--set", "turn.nonsense=1"], 2, "nonsense"),
        (["--where", "lang=xx"], 1, "no clip"),
    ],
)
def test_wrong_usage_of_load_is_explained_before_anything_is_loaded(
    config: Path, clips: Path, out: Path, arguments: list[str], code: int, told: str
) -> None:
    result = bench("load", config, "--clips", clips, "--out", out, *arguments)
    assert result.exit_code == code
    assert told in result.output
    assert not out.exists()


@pytest.mark.parametrize("tool", [["sweep", "--grid", "turn.silence_ms=200,300"], ["ablate"], ["load"]])
def test_tools_leave_other_results_alone_and_tell_what_does_not_load(
    config: Path, clips: Path, out: Path, tool: list[str]
) -> None:
    command, *more = tool
    out.mkdir()
    (out / "result.json").write_text("mine")
    refused = bench(command, config, *more, "--clips", clips, "--out", out)
    assert (refused.exit_code, (out / "result.json").read_text()) == (1, "mine")
    assert "another run" in refused.output
    broken = write_config(config.parent, llm='{engine: "scripted_engines:Failing"}')
    failed = bench(command, broken, *more, "--clips", clips, "--out", out / "new")
    assert failed.exit_code == 1
    assert "it is Sunday" in failed.output
    assert not (out / "new").exists(), "nothing measured, nothing written"


# -------------------------------------------------------------------------------------------- compare


@pytest.fixture
def runs(config: Path, clips: Path, tmp_path: Path) -> dict[str, Path]:
    found = {}
    for name, wait, limit in (("fast", 200, 6), ("same", 200, 6), ("slow", 700, 6), ("few", 700, 3)):
        found[name] = tmp_path / name
        done = bench(
            "run", config, "--clips", clips, "--out", found[name], "--set", f"turn.silence_ms={wait}", "--limit", limit
        )
        assert done.exit_code == 0, done.output
    return found


def test_a_result_that_is_not_worse_is_passed(runs: dict[str, Path]) -> None:
    result = bench("compare", runs["fast"], runs["same"])
    assert result.exit_code == 0, result.output
    assert "not worse" in result.output
    assert "warning" not in result.output
    (row,) = rows(result, "scripted.yaml")
    assert "1.00 [1.00-1.00]" in row
    assert "0 -> 0 of 6" in row
    assert bench("compare", runs["slow"], runs["fast"]).exit_code == 0, "faster is not worse"


def test_a_slower_result_fails_unless_the_threshold_allows_it(runs: dict[str, Path]) -> None:
    result = bench("compare", runs["fast"] / "result.json", runs["slow"])
    assert result.exit_code == 1
    assert "worse: scripted.yaml: ttfa_ms is 3." in result.output
    assert "settings differ: A is scripted.yaml · turn.silence_ms 200" in result.output
    (row,) = rows(result, "scripted.yaml")
    assert "+500 [+500 to +500]" in row
    assert bench("compare", runs["fast"], runs["slow"], "--threshold", "4").exit_code == 0
    assert bench("compare", runs["fast"], runs["slow"], "--metric", "commit_delay_ms").exit_code == 1
    assert bench("compare", runs["fast"], runs["slow"], "--metric", "compute_after_commit_ms").exit_code == 0


def test_turns_without_a_partner_are_named_and_few_clips_decide_nothing(runs: dict[str, Path]) -> None:
    result = bench("compare", runs["fast"], runs["few"])
    assert result.exit_code == 0
    assert "scripted.yaml: 3 turns only in A: " in result.output
    assert "too few clips with ttfa_ms in both to tell (at least 5): scripted.yaml" in result.output


def test_another_machine_other_clips_and_a_stopped_run_are_warned_of(runs: dict[str, Path], tmp_path: Path) -> None:
    data = written(runs["same"])
    data["machine"]["cores"] = 96
    data["clips"]["index_sha256"] = "another"
    (tmp_path / "other.json").write_text(json.dumps({**data, "complete": False, "schema_version": 99}))
    result = bench("compare", runs["fast"], tmp_path / "other.json")
    assert result.exit_code == 0
    for told in ("the machines differ (cores", "indexes of the clips differ", "stopped before its end", "version 99"):
        assert told in result.output


def test_what_cannot_be_compared_is_exit_code_two(runs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    for arguments, told in (
        ((runs["fast"], tmp_path / "nowhere"), "cannot be read"),
        ((tmp_path / "broken.json", runs["fast"]), "is no JSON"),
        ((runs["fast"], runs["slow"], "--config", "other.yaml"), "no configuration 'other.yaml'"),
        ((runs["fast"], runs["slow"], "--metric", "speed"), "ttfa_ms, commit_delay_ms"),
        ((runs["fast"], runs["slow"], "--threshold", "0"), "no ratio above 0"),
        ((runs["fast"], runs["slow"], "--threshold", "nan"), "no ratio above 0"),
        ((runs["fast"],), "Missing argument"),
    ):
        result = bench("compare", *arguments)
        assert result.exit_code == 2, arguments
        assert told in result.output, arguments


def test_on_a_terminal_there_is_one_bar_and_a_line_would_be_too_many() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Overall(console, 3) as overall:
        overall.tell("x.yaml a=1", "[b].wav", "340 ms", counts=False)
        overall.tell("x.yaml a=1", "[b].wav", "350 ms")
        overall.tell("x.yaml a=2", "[b].wav", "")
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "2/3" in shown
    assert "x.yaml a=2  [b].wav" in shown, "names are no markup"
    assert "\x1b[" in shown
