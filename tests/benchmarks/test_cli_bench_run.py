"""`antiphon bench run` on scripted engines: arguments, files, the table, exit codes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from bench_clips import Made, write_clips
from scripted_engines import write_config
from typer.testing import CliRunner, Result

from antiphon.benchmarks.result import json_schema
from antiphon.engines.testing import run_virtual
from antiphon.pipeline.cli import app
from antiphon.pipeline.cli import bench as bench_cli
from antiphon.pipeline.cli.common import EXIT_CODES
from antiphon.pipeline.config import load_config

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture(autouse=True)
def _no_real_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's loop has a virtual clock: a run takes no time."""
    monkeypatch.setattr(bench_cli.asyncio, "run", run_virtual)


def bench(*arguments: str | Path) -> Result:
    words = ["bench", "run", *(str(argument) for argument in arguments)]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "80", "NO_COLOR": "1"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    assert result.exit_code in EXIT_CODES
    return result


@pytest.fixture
def config(tmp_path: Path) -> Path:
    speaking = '{engine: "scripted_engines:Vad", speech_s: [0.52, 1.32]}'
    hearing = '{engine: "scripted_engines:Stt", says: what time is it}'
    return write_config(tmp_path, vad=speaking, stt=hearing)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return write_clips(tmp_path / "set", Made("a.wav"), Made("b.wav"), Made("n.wav", speech=None))


def written(out: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((out / "result.json").read_text())
    jsonschema.validate(data, json_schema())
    return data


def test_a_run_writes_its_result_a_report_and_a_table(config: Path, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = bench(
        config, "--clips", clips, "--out", out, "--where", "lang=en", "--where", "kind!=noise", "--runs", "2"
    )
    assert result.exit_code == 0, result.output
    data = written(out)
    (measured,) = data["configs"]
    assert (measured["config"], measured["turns"], measured["answered"]) == ("scripted.yaml", 4, 4)
    assert measured["ttfa_ms"]["n"] == 4
    assert measured["ttfa_cold_ms"]["n"] == 1
    assert measured["wer"] == 0.0
    assert measured["cpu_s_per_turn"] is not None
    assert measured["peak_rss_mb"] > 10
    assert data["complete"] is True
    assert data["clips"]["name"] == "set"
    assert data["clips"]["where"] == ["lang=en", "kind!=noise"]
    assert data["command"] == (
        "antiphon bench run scripted.yaml --clips set --where lang=en --where 'kind!=noise' --runs 2"
    )
    assert str(tmp_path) not in json.dumps(data)
    assert "<html" in (out / "report.html").read_text("utf-8")[:400].lower()
    lines = result.output.splitlines()
    assert any(line.startswith("scripted.yaml  2/4  b.wav  ") and line.endswith(" ms") for line in lines)
    (row,) = [line for line in lines if line.startswith("scripted.yaml ") and "4/4 " in line and ".wav" not in line]
    assert "0.0 %" in row
    assert f"wrote {out / 'result.json'}" in result.output


def test_every_further_start_is_a_process_of_its_own(config: Path, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    chosen = ("--where", "lang=en", "--where", "kind!=noise", "--limit", "1")
    result = bench(config, "--clips", clips, "--out", out, *chosen, "--starts", "2")
    assert result.exit_code == 0, result.output
    data = written(out)
    (measured,) = data["configs"]
    assert [record["cold"] for record in measured["turn_records"]] == [True, True, False]
    assert [record["outcome"] for record in measured["turn_records"]] == ["answered"] * 3
    assert data["command"].endswith("--starts 2")
    assert sum(line.startswith("scripted.yaml  cold  ") for line in result.output.splitlines()) == 2


def test_noise_is_played_too_and_each_number_of_sessions_has_its_line(
    config: Path, clips: Path, tmp_path: Path
) -> None:
    quiet = tmp_path / "quiet"
    quiet.mkdir()
    silent = write_config(quiet, vad='{engine: "scripted_engines:Vad", speech_s: [90.0, 91.0]}')
    result = bench(silent, "--clips", clips, "--out", tmp_path / "out", "--where", "kind=noise")
    assert result.exit_code == 0, result.output
    assert written(tmp_path / "out")["configs"][0]["false_start_rate"] == 0.0
    assert "0/1" in result.output
    result = bench(config, "--clips", clips, "--out", tmp_path / "two", "--where", "lang=en", "--concurrency", "1,2")
    assert [one["concurrency"] for one in written(tmp_path / "two")["configs"]] == [1, 2]
    assert "scripted.yaml x2" in result.output


def test_settings_stand_in_the_result_and_configurations_of_one_name_are_told_apart(
    config: Path, clips: Path, tmp_path: Path
) -> None:
    result = bench(
        config, config, "--clips", clips, "--out", tmp_path / "o", "--limit", "1", "--set", "turn.silence_ms=700"
    )
    assert result.exit_code == 0, result.output
    first, second = written(tmp_path / "o")["configs"]
    assert (first["config"], second["config"]) == ("scripted.yaml", "scripted.yaml (2)")
    assert first["settings"] == {"turn.silence_ms": "700"}
    assert 650 < first["commit_delay_ms"]["p50"] < 750
    assert written(tmp_path / "o")["command"].endswith("--set turn.silence_ms=700 --limit 1")


def test_another_runs_result_is_not_overwritten_unless_asked(config: Path, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "result.json").write_text("mine")
    refused = bench(config, "--clips", clips, "--out", out)
    assert refused.exit_code == 1
    assert "another run" in refused.output
    assert (out / "result.json").read_text() == "mine"
    assert bench(config, "--clips", clips, "--out", out, "--limit", "1", "--force").exit_code == 0
    assert written(out)["configs"][0]["turns"] == 1


def test_a_failed_turn_is_a_failure_of_the_command_and_is_written(clips: Path, tmp_path: Path) -> None:
    breaking = write_config(
        tmp_path,
        vad='{engine: "scripted_engines:Vad", speech_s: [0.52, 1.32]}',
        stt='{engine: "scripted_engines:Stt", says: break at once}',
    )
    result = bench(breaking, "--clips", clips, "--out", tmp_path / "out", "--limit", "1")
    assert result.exit_code == 1
    assert "failed: llm: EngineFailed" in result.output
    assert written(tmp_path / "out")["configs"][0]["failed"] == 1


def test_an_engine_that_does_not_load_ends_the_run_and_keeps_what_was_measured(
    config: Path, clips: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    broken = write_config(folder, llm='{engine: "scripted_engines:Failing"}')
    result = bench(config, broken, "--clips", clips, "--out", tmp_path / "out", "--limit", "1")
    assert result.exit_code == 1
    assert "it is Sunday" in result.output
    assert "wait until Monday" in result.output
    data = written(tmp_path / "out")
    assert data["complete"] is False
    assert [one["config"] for one in data["configs"]] == ["scripted.yaml"]
    alone = bench(broken, "--clips", clips, "--out", tmp_path / "none", "--limit", "1")
    assert alone.exit_code == 1
    assert not (tmp_path / "none").exists(), "nothing measured, nothing written"


def test_ctrl_c_writes_what_was_measured(
    config: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def stop(self: Any, step: Any) -> None:
        seen.append(step)
        if len(seen) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(bench_cli.Reporter, "on_progress", stop)
    result = bench(config, "--clips", clips, "--out", tmp_path / "out")
    assert result.exit_code == 130
    data = written(tmp_path / "out")
    assert data["complete"] is False
    assert [record["clip"] for record in data["configs"][0]["turn_records"]] == ["b.wav", "a.wav"]
    assert "stopped before its end" in result.output


def documented() -> list[str]:
    """The commands on the page, without what is said about them."""
    page = (Path(__file__).parents[2] / "docs" / "benchmark.md").read_text("utf-8")
    lines = [line.strip() for line in page.splitlines() if line.startswith("    antiphon bench run ")]
    return [re.split(r" {3,}", line)[0] for line in lines]


@pytest.mark.parametrize("command", documented())
def test_the_commands_of_the_page_do_what_they_say(command: str, config: Path, clips: Path, tmp_path: Path) -> None:
    words = shlex.split(command)[3:]
    overrides = [words.pop(words.index("--set") + 1)] if "--set" in words else []
    words = [word for word in words if word != "--set"]
    for name in [word for word in words if word.endswith(".yaml")]:
        load_config(name, overrides=overrides)
    given = {"DIR": clips, words[words.index("--out") + 1]: tmp_path / "out"}
    result = bench(*(config if word.endswith(".yaml") else given.get(word, word) for word in words))
    assert result.exit_code == 0, result.output
    assert written(tmp_path / "out")["configs"]


def test_the_page_has_commands() -> None:
    assert len(documented()) >= 5


@pytest.mark.skipif(sys.platform == "win32", reason="signals work differently there")
def test_ctrl_c_in_a_terminal_ends_the_sessions_in_order(config: Path, clips: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "antiphon", "bench", "run", str(config), "--clips", str(clips)]
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        assert "b.wav" in process.stdout.readline(), "the cold turn"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert errors == ""
    assert written(tmp_path / "out")["complete"] is False


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--concurrency", "0"], 2, "1,2,4"),
        (["--concurrency", "1,x"], 2, "1,2,4"),
        (["--runs", "0"], 2, "--runs"),
        (["--set", "turn.nonsense=1"], 2, "nonsense"),
        (["--where", "colour=red"], 1, "columns:"),
        (["--where", "lang=xx"], 1, "no clip"),
    ],
)
def test_wrong_usage_is_explained_before_anything_is_loaded(
    config: Path, clips: Path, tmp_path: Path, arguments: list[str], code: int, told: str
) -> None:
    result = bench(config, "--clips", clips, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == code
    assert told in result.output
    assert not (tmp_path / "out").exists()


def test_a_missing_index_clip_or_configuration_is_named(config: Path, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "no index.tsv" in bench(config, "--clips", tmp_path / "nowhere", "--out", out).output
    assert bench("nowhere.yaml", "--clips", clips, "--out", out).exit_code == 2
    (clips / "b.wav").unlink()
    gone = bench(config, "--clips", clips, "--out", out)
    assert gone.exit_code == 1
    assert "b.wav" in gone.output
    (clips / "a.wav").write_bytes(b"RIFF, but no more")
    broken = bench(config, "--clips", clips, "--out", out, "--where", "file=a.wav")
    assert broken.exit_code == 1
    assert "a.wav" in broken.output
