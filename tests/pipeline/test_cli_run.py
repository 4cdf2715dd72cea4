"""`antiphon run` on scripted engines: arguments, exit codes, files, JSON."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from scripted_engines import write_config
from typer.testing import CliRunner, Result

from antiphon.engines.testing import run_virtual
from antiphon.pipeline.cli import app
from antiphon.pipeline.cli.common import EXIT_CODES
from antiphon.pipeline.cli.inputs import raw_pcm, reply_targets
from antiphon.pipeline.events import EVENT_TYPES

SUPPORT = Path(__file__).parents[1] / "support"
RATE_HZ = 16000


def run(*arguments: str | Path) -> Result:
    words = ["run", *(str(argument) for argument in arguments)]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "80", "NO_COLOR": "1"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    assert result.exit_code in EXIT_CODES
    return result


def run_process(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "antiphon", "run", *(str(argument) for argument in arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=300, env=environment())


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SUPPORT), "COLUMNS": "80", "NO_COLOR": "1"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    return silence(tmp_path / "question.wav")


def silence(path: Path, seconds: float = 2.0) -> Path:
    """A recording; the scripted VAD says where speech is in it."""
    soundfile.write(path, np.zeros(round(seconds * RATE_HZ), dtype=np.float32), RATE_HZ)
    return path


# ------------------------------------------------------------------------------------------------ main path


def test_a_recording_is_answered(config: Path, wav: Path, tmp_path: Path) -> None:
    out, events = tmp_path / "new" / "a.wav", tmp_path / "logs" / "e.jsonl"
    result = run(config, "--in", wav, "--out", out, "--events", events, "--fast")
    assert result.exit_code == 0
    assert "     You hello there\n" in result.stdout
    assert "Antiphon 2 messages." in result.stdout and f"wrote {out}" in result.stdout.replace("\n", "")
    facts = soundfile.info(str(out))
    assert (facts.samplerate, facts.channels, facts.subtype) == (24000, 1, "PCM_16")
    samples, _ = soundfile.read(str(out))
    assert np.abs(samples).max() > 0.1
    assert_valid_events(events)


def assert_valid_events(path: Path) -> list[dict[str, Any]]:
    """Each line is an event of the vocabulary, with all its fields and no other."""
    fields = {kind.type: {"type", *(field.name for field in dataclasses.fields(kind))} for kind in EVENT_TYPES}
    events = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert events
    for event in events:
        assert set(event) == fields[event["type"]]
        assert event["session"].startswith("sess_") and event["t_s"] >= 0 and event["audio_s"] >= 0
    kinds = [event["type"] for event in events]
    assert kinds.count("turn_ended") == len({event["turn"] for event in events if event["turn"]})
    return events


def test_json_is_all_that_is_on_stdout(config: Path, wav: Path, tmp_path: Path) -> None:
    result = run(config, "--in", wav, "--out", tmp_path / "a.wav", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    (answered,) = report["inputs"]
    (turn,) = answered["turns"]
    assert (turn["status"], turn["user"]) == ("completed", "hello there")
    assert turn["assistant"] == "2 messages.\nYou said: hello there."
    parts = [step["part"] for step in turn["waterfall_ms"].values()]
    assert sum(parts) == pytest.approx(max(step["done"] for step in turn["waterfall_ms"].values()), abs=1.0)
    assert "hello there" in result.stderr


def test_the_waterfall_fits_a_screen_of_80_columns(config: Path, wav: Path) -> None:
    result = run(config, "--in", wav, "--set", "stt.says=" + "many words " * 20)
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert "VAD stop" in result.stdout and "since the last speech sample" in result.stdout
    beside = [line for line in result.stdout.splitlines() if "many words" in line]
    assert beside[0].startswith("     You many") and beside[1].startswith(" " * 9), (
        "further lines stand under the first"
    )


def test_several_recordings_and_a_folder(config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "questions"
    (folder / "more").mkdir(parents=True)
    silence(folder / "one.wav")
    silence(folder / "two.WAV")
    (folder / "notes.txt").write_text("no recording")
    twin = silence(folder / "more" / "one.wav")
    out = tmp_path / "answers"
    result = run(config, "--in", folder, "--in", twin, "--in", twin, "--out", out, "--fast", "--json")
    assert result.exit_code == 0
    assert [Path(one["out"]).name for one in json.loads(result.stdout)["inputs"]] == ["one.wav", "two.wav", "one-2.wav"]
    assert sorted(path.name for path in out.iterdir()) == ["one-2.wav", "one.wav", "two.wav"]


def test_the_replies_to_a_folder_of_one_go_into_a_folder(config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "questions"
    folder.mkdir()
    silence(folder / "one.wav")
    out = tmp_path / "answers"
    result = run(config, "--in", folder, "--out", out, "--fast")
    assert result.exit_code == 0
    assert [path.name for path in out.iterdir()] == ["one.wav"]
    result = run(config, "--in", folder, "--out", tmp_path / "a.wav", "--fast")
    assert result.exit_code == 2 and "the recordings of a folder need a folder" in " ".join(result.stderr.split())


def test_one_that_cannot_be_read_does_not_stop_the_others(config: Path, wav: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_text("this is text")
    result = run(config, "--in", bad, "--in", wav, "--in", tmp_path / "none.wav", "--fast", "--json")
    assert result.exit_code == 1
    inputs = json.loads(result.stdout)["inputs"]
    assert [bool(one["turns"]) for one in inputs] == [False, True, False]
    assert "no audio" in inputs[0]["error"] and "no such file" in inputs[2]["error"]


def test_a_turn_that_fails_is_told_and_apologised_for(config: Path, wav: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.wav"
    result = run(config, "--in", wav, "--out", out, "--fast", "--set", "stt.says=break at once", "--json")
    assert result.exit_code == 1
    (turn,) = json.loads(result.stdout)["inputs"][0]["turns"]
    assert (turn["status"], turn["error"]) == ("failed", "llm: a scripted failure")
    assert len(soundfile.read(str(out))[0]), "the apology"


def test_both_sides_on_one_time_line(config: Path, wav: Path, tmp_path: Path) -> None:
    out = tmp_path / "both.wav"
    assert run(config, "--in", wav, "--out", out, "--mix", "--fast").exit_code == 0
    samples, rate_hz = soundfile.read(str(out))
    assert samples.shape[1] == 2
    assert not np.any(samples[:, 0]), "the user's side is as it was recorded"
    first_s = np.flatnonzero(np.abs(samples[:, 1]) > 0.01)[0] / rate_hz
    assert 0.8 < first_s < 2.1, "the answer comes after the speech"


# ------------------------------------------------------------------------------------------------ wrong usage


@pytest.mark.parametrize(
    "arguments",
    [["--fast"], ["--out", "a.wav"], ["--mix"], ["--in", "WAV", "--mix"], ["--rate", "7999"], ["--nothing"]],
)
def test_options_that_do_not_go_together(config: Path, wav: Path, arguments: list[str]) -> None:
    assert run(config, *(str(wav) if one == "WAV" else one for one in arguments)).exit_code == 2


def test_no_recording_is_overwritten(config: Path, wav: Path, tmp_path: Path) -> None:
    before = wav.read_bytes()
    result = run(config, "--in", wav, "--out", tmp_path)
    assert result.exit_code == 2 and "would overwrite" in result.stderr
    assert run(config, "--in", wav, "--out", wav).exit_code == 2
    assert wav.read_bytes() == before


def test_several_recordings_do_not_go_into_one_file(config: Path, wav: Path, tmp_path: Path) -> None:
    other = silence(tmp_path / "other.wav")
    there = tmp_path / "there"
    there.write_text("")
    for out in (there, tmp_path / "new.wav"):
        result = run(config, "--in", wav, "--in", other, "--out", out)
        assert result.exit_code == 2 and "need a folder" in result.stderr
    assert reply_targets(["x/a.wav", "-"], tmp_path / "dir") == [tmp_path / "dir/a.wav", tmp_path / "dir/stdin.wav"]


def test_a_wrong_configuration(tmp_path: Path, wav: Path) -> None:
    missing = run("none.yaml", "--in", wav)
    assert (missing.exit_code, "there is no file 'none.yaml'" in missing.stderr) == (2, True)
    mistyped = write_config(tmp_path, stt='{engine: "scripted_engines:Stt", sais: "x"}')
    result = run(mistyped, "--in", wav)
    assert result.exit_code == 2
    assert f"{mistyped}:3: stt.sais: unknown key; did you mean 'says'?" in result.stderr
    assert run(write_config(tmp_path), "--in", wav, "--set", "stt.says").exit_code == 2


# -------------------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "no such file"), (b"", "the file is empty"), (b"hello", "no audio"), (b"RIFF\x10", "header")],
)
def test_an_input_that_cannot_be_used(config: Path, tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "bad.wav"
    if content is not None:
        path.write_bytes(content)
    out = tmp_path / "a.wav"
    result = run(config, "--in", path, "--out", out)
    assert (result.exit_code, problem in result.stderr) == (1, True)
    assert not out.exists()


def test_an_empty_folder(config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    result = run(config, "--in", folder)
    assert (result.exit_code, "no recording in this folder" in result.stderr) == (1, True)


def test_a_recording_without_samples(config: Path, tmp_path: Path) -> None:
    result = run(config, "--in", silence(tmp_path / "empty.wav", 0.0))
    assert (result.exit_code, "holds no samples" in result.stderr) == (1, True)


def test_a_recording_without_speech(tmp_path: Path, wav: Path) -> None:
    config = write_config(tmp_path, vad='{engine: "scripted_engines:Vad", speech_s: []}')
    out = tmp_path / "a.wav"
    result = run(config, "--in", wav, "--out", out, "--fast")
    assert (result.exit_code, "no speech was heard" in result.stdout) == (0, True)
    assert len(soundfile.read(str(out))[0]) == 0


def test_what_cannot_be_written(config: Path, wav: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    for option in ("--events", "--out"):
        result = run(config, "--in", wav, "--fast", option, blocked / "x")
        assert (result.exit_code, "written" in result.stderr) == (1, True), option


# ------------------------------------------------------------------------------------------------ what is missing


def test_a_missing_package(tmp_path: Path, wav: Path) -> None:
    result = run(write_config(tmp_path, llm='{engine: "scripted_engines:NEEDY"}'), "--in", wav)
    assert result.exit_code == 3
    assert 'pip install "antiphon[cloud]"' in result.stderr


def test_a_missing_model(tmp_path: Path, wav: Path) -> None:
    path = write_config(tmp_path, turn="{engine: smart_turn}", models=f"{{store: {tmp_path / 'store'}}}")
    result = run(path, "--in", wav)
    assert result.exit_code == 3
    assert "antiphon models pull smart-turn-v3.2-cpu" in result.stderr
    assert "antiphon models export" in result.stderr, "the way without a network"


def test_an_engine_that_cannot_be_loaded(tmp_path: Path, wav: Path) -> None:
    result = run(write_config(tmp_path, llm='{engine: "scripted_engines:Raising"}'), "--in", wav)
    assert result.exit_code == 1
    assert "RuntimeError: no idea" in result.stderr and "antiphon doctor" in result.stderr


# ------------------------------------------------------------------------------------------------ standard input


def test_raw_pcm(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.wav"
    pcm = bytes(2 * 2 * 8000)
    done = run_process(config, "--in", "-", "--rate", "8000", "--fast", "--out", out, "--json", stdin=pcm)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [turn["user"] for turn in report["inputs"][0]["turns"]] == ["hello there"]
    assert out.exists()


def test_raw_pcm_with_half_a_sample(config: Path, tmp_path: Path) -> None:
    done = run_process(config, "--in", "-", "--fast", stdin=bytes(32001))
    assert done.returncode == 1
    assert b"in the middle of a 16-bit sample" in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.parametrize("paced", [True, False])
def test_raw_pcm_comes_at_the_pace_of_a_microphone(monkeypatch: pytest.MonkeyPatch, paced: bool) -> None:
    async def read() -> tuple[list[tuple[float, float]], float]:
        loop = asyncio.get_running_loop()
        came = [(loop.time(), frame.end_s) async for frame in raw_pcm(8000, paced=paced)]
        return came, loop.time()

    read_end, write_end = os.pipe()
    with open(read_end, "rb") as piped:
        os.write(write_end, bytes(2 * 8000))  # a second, all there at once
        os.close(write_end)
        monkeypatch.setattr(sys, "stdin", piped)
        came, done_s = run_virtual(read())
    origin_s = came[0][0] - came[0][1]
    assert came[-1][1] == 1.0
    if paced:
        assert all(at_s >= origin_s + end_s - 1e-6 for at_s, end_s in came)
    else:
        assert done_s == came[0][0], "nothing was waited for"


def test_no_bytes_at_all(config: Path) -> None:
    done = run_process(config, "--in", "-", "--fast")
    assert (done.returncode, b"no speech was heard" in done.stdout) == (0, True)


def test_ctrl_c(config: Path, tmp_path: Path) -> None:
    long = silence(tmp_path / "long.wav", 60.0)
    command: Sequence[str] = [sys.executable, "-m", "antiphon", "run", str(config), "--in", str(long)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            assert b"ready" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
        finally:
            process.kill()
        assert b"Traceback" not in process.stderr.read()
