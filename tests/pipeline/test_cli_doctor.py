"""`antiphon doctor`: what it finds, what it says to do, how it ends. Engines are really tried in child processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripted_engines import write_config
from typer.testing import CliRunner, Result

from antiphon.engines.errors import EngineCrashed, EngineFailed, EngineTimeout
from antiphon.engines.host_process import Trial
from antiphon.engines.registry import BUILTINS
from antiphon.pipeline import checkup
from antiphon.pipeline.checkup import Checkup, Problem, exit_code, explain_trial
from antiphon.pipeline.cli import app
from antiphon.pipeline.config import load_config
from antiphon.pipeline.machine import Machine
from antiphon.pipeline.trial import Tried, synthetic_second

TRIED = Tried(0.5, 0.001, "a call", 100.0)


def doctor(*arguments: str | Path) -> Result:
    words = ["doctor", *(str(argument) for argument in arguments)]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "80", "NO_COLOR": "1"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every trial ends well at once: for what is not about trials."""
    monkeypatch.setattr(checkup, "try_in_child", lambda *a, **k: Trial(TRIED, None, "", "", "", 0.1))


@pytest.fixture
def no_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = checkup.AudioFinding(None, None, "no microphone and no speaker")
    monkeypatch.setattr(Checkup, "audio", lambda self: finding)


# ------------------------------------------------------------------------------------------- engines are tried


def test_all_is_well(tmp_path: Path, no_audio: None) -> None:
    result = doctor(write_config(tmp_path), "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["ok"], report["exit_code"], report["problems"]) == (True, 0, [])
    assert [one["path"] for one in report["engines"]] == ["vad", "turn", "stt", "llm", "tts"]
    assert {one["state"] for one in report["engines"]} == {"ok"}
    for one in report["engines"]:
        assert one["tried"]["load_s"] >= 0 and one["tried"]["call_s"] >= 0 and one["tried"]["memory_mb"] > 10
    what = {one["path"]: one["tried"]["what"] for one in report["engines"]}
    assert what["vad"] == "a window of 32 ms" and what["turn"] == "ends a turn after 300 ms of silence"
    assert what["stt"] == "1 s of sound: 2 words" and "the first after" in what["llm"] and "of speech" in what["tts"]
    assert report["machine"]["cores"] > 0 and report["machine"]["disk_free_bytes"] > 0
    assert {"numpy", "soxr"} <= {one["name"] for one in report["packages"]}


def test_each_way_to_break_is_told_with_what_to_do(tmp_path: Path, no_audio: None) -> None:
    """A chain of engines that crash, raise, fail and hang: each is tried, and the others all the same."""
    names = ["Crashing", "Raising", "Failing", "Hanging"]
    path = write_config(
        tmp_path,
        llm="[" + ", ".join(f'{{engine: "scripted_engines:{name}"}}' for name in names) + "]",
        tts='{engine: "scripted_engines:Mute"}',
    )
    result = doctor(path, "--json", "--timeout", "12")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    states = {one["path"]: one["state"] for one in report["engines"]}
    assert states == {
        "vad": "ok", "turn": "ok", "stt": "ok", "llm.0": "failed", "llm.1": "failed", "llm.2": "failed",
        "llm.3": "failed", "tts": "failed",
    }  # fmt: skip
    problems = {problem["where"]: problem for problem in report["problems"]}
    assert "SIGSEGV" in problems["llm.0"]["message"] and "ctypes" in problems["llm.0"]["todo"]
    assert problems["llm.1"]["message"] == "RuntimeError: no idea"
    assert (problems["llm.2"]["message"], problems["llm.2"]["todo"]) == ("it is Sunday", "wait until Monday")
    assert "within 12 s" in problems["llm.3"]["message"] and "--timeout 24" in problems["llm.3"]["todo"]
    assert "gave no audio" in problems["tts"]["message"]
    assert "engine process died" not in result.stderr, "the report says it"


# -------------------------------------------------------------------------------------------- what is missing


def test_a_missing_package_and_a_missing_model(tmp_path: Path, quick: None, no_audio: None) -> None:
    path = write_config(
        tmp_path,
        turn="{engine: smart_turn}",
        stt='{engine: "scripted_engines:Stt"}',
        llm='[{engine: "scripted_engines:NEEDY"}, {engine: "scripted_engines:Llm", model: no-such-model}]',
        models=f"{{store: {tmp_path / 'store'}}}",
    )
    result = doctor(path, "--json")
    assert result.exit_code == 3
    report = json.loads(result.stdout)
    todo = {problem["where"]: problem["todo"] for problem in report["problems"]}
    assert todo["no_such_package"] == 'pip install "antiphon[cloud]"'
    assert "antiphon models pull smart-turn-v3.2-cpu" in todo["turn.model"]
    assert "llm.1.model" in todo
    conditions = {one["reference"]: one["condition"] for one in report["models"]}
    assert conditions == {"smart-turn-v3.2-cpu": "not here", "no-such-model": "unknown"}
    states = {one["path"]: one["state"] for one in report["engines"]}
    assert states == {"vad": "ok", "turn": "skipped", "stt": "ok", "llm.0": "skipped", "llm.1": "skipped", "tts": "ok"}


def test_a_damaged_model(tmp_path: Path, quick: None, no_audio: None) -> None:
    folder = tmp_path / "store" / "smart-turn-v3.2-cpu"
    folder.mkdir(parents=True)
    (folder / "smart-turn-v3.2-cpu.onnx").write_bytes(b"half")
    path = write_config(tmp_path, turn="{engine: smart_turn}", models=f"{{store: {tmp_path / 'store'}}}")
    report = json.loads(doctor(path, "--json").stdout)
    assert [one["condition"] for one in report["models"]] == ["damaged"]
    assert "antiphon models pull" in report["problems"][0]["todo"]


def test_the_users_own_workflow(tmp_path: Path, quick: None, no_audio: None) -> None:
    good = json.loads(doctor(write_config(tmp_path, workflow='{kind: "scripted_engines:Tools"}'), "--json").stdout)
    assert good["ok"] and good["workflow"]["state"] == "ok"
    result = doctor(write_config(tmp_path, workflow='{kind: "no_such_module:Flow"}'))
    assert result.exit_code == 1
    assert "workflow.kind: 'no_such_module:Flow' cannot be imported" in result.stdout


def test_a_wrong_configuration(tmp_path: Path) -> None:
    assert doctor("none.yaml").exit_code == 2
    assert doctor(write_config(tmp_path, stt='{engine: "scripted_engines:Stt", x: 1}')).exit_code == 2


# ------------------------------------------------------------------------------------------------- the screen


def test_it_fits_a_screen_of_80_columns(tmp_path: Path, quick: None, no_audio: None) -> None:
    path = write_config(
        tmp_path,
        turn="{engine: smart_turn}",
        models=f"{{store: {tmp_path / 'store'}}}",
        workflow='{kind: "no_such_module.of_a_rather_long_name.somewhere:Flow"}',
    )
    result = doctor(path)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert [line for line in lines if len(line) > 80 and str(tmp_path) not in line] == []
    for heading in (
        "machine",
        "packages",
        "models",
        "microphone and speaker",
        "engines, each tried once",
        "2 problems",
    ):
        assert heading in lines
    assert "  missing smart-turn-v3.2-cpu" in result.stdout
    good = doctor(write_config(tmp_path))
    assert good.stdout.rstrip().endswith("All is well.")
    assert "500 ms   1.0 ms  100 MB" in good.stdout


def test_what_protects_the_server_is_said_and_what_would_let_everybody_in_is_a_problem(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    good = doctor(write_config(tmp_path, server=f"{{keys_file: {keys}}}"))
    assert "antiphon serve" in good.stdout.splitlines()
    assert "keys: none, any program of this machine may enter; TLS: off" in good.stdout
    bad = doctor(write_config(tmp_path, server=f"{{keys_file: {keys}, host: 0.0.0.0}}"))
    assert bad.exit_code == 1
    assert "server.host: '0.0.0.0' can be reached from other machines" in " ".join(bad.stdout.split())
    assert "antiphon keys create" in bad.stdout
    made = CliRunner().invoke(app, ["keys", "create", "desk", "--file", str(keys)])
    assert made.exit_code == 0
    open_port = doctor(write_config(tmp_path, server=f"{{keys_file: {keys}, host: 0.0.0.0}}"))
    assert open_port.exit_code == 0
    assert "keys: 1; TLS: OFF, keys and voices cross the network in the clear" in " ".join(open_port.stdout.split())
    assert made.stdout.strip() not in open_port.stdout


# ------------------------------------------------------------------------------------------------- its parts


def test_exit_code_of_problems() -> None:
    missing, broken = Problem("a", "m", "t", True), Problem("b", "m", "t", False)
    assert [exit_code(found) for found in ([], [missing], [broken], [missing, broken])] == [0, 3, 1, 1]


def test_a_crash_is_explained() -> None:
    output = 'Fatal Python error\n\nCurrent thread 0x1 (most recent call first):\n  File "x.py", line 1 in f\n\nmore'
    error = EngineCrashed("'x' crashed (run): its process died of SIGILL", signal_name="SIGILL")
    message, todo = explain_trial("llm", "llama_cpp", Trial(None, error, "SIGILL", "Build it again.", output, 1.0), 9)
    assert message == "llama_cpp crashed: its process died of SIGILL"
    assert todo == 'Build it again.\nIt was at:\n  File "x.py", line 1 in f'


def test_an_engine_that_is_too_slow_is_told_from_one_whose_server_is() -> None:
    own = Trial(None, EngineTimeout("no answer", stage="llm", hint="ask again"), "", "", "", 1.0)
    assert explain_trial("llm", "openai", own, 9) == ("no answer", "ask again")
    late = Trial(None, EngineTimeout("x"), "", "", "", 1.0)
    assert explain_trial("llm", "openai", late, 9)[0] == "openai was not ready and done within 9 s"
    plain = Trial(None, EngineFailed("broken", stage="llm"), "", "", "", 1.0)
    assert explain_trial("llm.1", "openai", plain, 9) == ("broken", "antiphon engines show llm.openai")


def test_notes_about_the_machine(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path))
    weak = Machine("Linux", "x86_64", "old", ("FMA",), 1.0, 2**30, 10**6, "3.11")
    big = checkup.ModelFinding("big", ("llm.model",), "missing", "not here", 10**15, "")
    notes = Checkup(config).notes(weak, [big])
    assert ["no AVX2" in notes[0], "of memory" in notes[1], "the store's disk has" in notes[2]] == [True] * 3
    fine = Machine("Linux", "aarch64", "new", (), 4.0, 2**33, 2**32, "3.11")
    assert Checkup(config).notes(fine, []) == []


def test_every_package_of_the_built_in_engines_is_known_by_its_distribution(tmp_path: Path, quick: None) -> None:
    config = load_config(write_config(tmp_path, vad="{engine: webrtcvad}"))
    found = {one.name: one for one in Checkup(config).packages()}
    assert found["webrtcvad"].distribution == "webrtcvad-wheels" and found["webrtcvad"].version
    assert found["webrtcvad"].needed_by == ("vad",)
    for spec in BUILTINS:
        assert spec.packages == () or spec.extra, f"{spec.name}: nothing says how to install {spec.packages}"


def test_microphone_and_speaker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = Checkup(load_config(write_config(tmp_path)))

    def found(value: Any, error: Exception | None = None) -> checkup.AudioFinding:
        monkeypatch.setattr(checkup, "try_in_child", lambda *a, **k: Trial(value, error, "", "", "", 0.1))
        return check.audio()

    monkeypatch.setattr(checkup.importlib.util, "find_spec", lambda name: object())
    assert found({"input": "Mic", "output": "Box"}) == checkup.AudioFinding("Mic", "Box", "")
    assert found({"input": None, "output": "Box"}).note == "no microphone"
    assert "libportaudio2" in found(None, OSError("PortAudio library not found")).note
    assert found(None, EngineCrashed("'x' crashed")).note == "'x' crashed"
    monkeypatch.setattr(checkup.importlib.util, "find_spec", lambda name: None)
    assert 'pip install "antiphon[mic]"' in check.audio().note


def test_the_sound_that_engines_are_tried_with() -> None:
    for rate_hz in (8000, 16000, 24000):
        sound = synthetic_second(rate_hz)
        assert (sound.dtype, sound.shape) == ("float32", (rate_hz,))
        assert 0.1 < abs(sound).max() <= 1.0


@pytest.mark.real
@pytest.mark.timeout(900)
def test_tiny_yaml_is_well() -> None:
    result = doctor("tiny.yaml", "--json", "--timeout", "300")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["problems"]) == (0, [])
    assert {one["condition"] for one in report["models"]} == {"verified"}
    memory_mb = {one["path"]: one["tried"]["memory_mb"] for one in report["engines"]}
    assert all(20 < size < 700 for size in memory_mb.values())
