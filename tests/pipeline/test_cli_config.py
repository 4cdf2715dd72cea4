"""`antiphon config check | show | schema`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from antiphon.pipeline.cli.config import app
from antiphon.pipeline.config import config_data, json_schema, load_config, parse_config

RUNNER = CliRunner()


def run(*arguments: str, **environ: str) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, list(arguments), env={"OPENAI_API_KEY": None, "OPENAI_BASE_URL": None, **environ})
    if result.exception is not None:
        assert isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.yaml"
    path.write_text("extends: local.yaml\nstt:\n  modle: whisper-base\ngate: {start_ms: soon}\n")
    return path


def test_check_says_ok() -> None:
    assert run("check") == (0, "local.yaml: ok\n", "")
    assert run("check", "tiny") == (0, "tiny: ok\n", "")
    assert run("check", "tiny", "--set", "stt.model=whisper-base")[0] == 0


def test_check_lists_everything_that_is_wrong(bad: Path) -> None:
    code, out, err = run("check", str(bad))
    assert (code, out) == (1, "")
    assert f"{bad}:3: stt.modle: unknown key; did you mean 'model'?" in err
    assert f"{bad}:4: gate.start_ms: found 'soon'; allowed: a number from 0 to 2000 (ms)" in err
    assert err.endswith(f"{bad}: 2 problems\n")


def test_check_for_programs(bad: Path) -> None:
    code, out, err = run("check", str(bad), "--json")
    report = json.loads(out)
    assert (code, err, report["ok"]) == (1, "", False)
    assert [(item["line"], item["key"]) for item in report["problems"]] == [(3, "stt.modle"), (4, "gate.start_ms")]
    assert set(report["problems"][0]) == {"file", "line", "key", "message", "hint"}
    assert json.loads(run("check", "--json")[1]) == {"config": "local.yaml", "ok": True, "problems": []}


def test_a_file_that_is_not_there() -> None:
    code, out, err = run("check", "tinny.yaml")
    assert (code, out) == (1, "")
    assert "did you mean 'tiny.yaml'?" in err


def test_show_prints_what_loads_to_the_same() -> None:
    code, out, err = run("show", "tiny", "--set", "session.max_turn_s=5")
    assert (code, err) == (0, "")
    assert parse_config(out) == load_config("tiny", overrides=["session.max_turn_s=5"])


def test_show_masks_secrets() -> None:
    code, out, _ = run("show", "cloud", OPENAI_API_KEY="sk-very-secret")
    assert code == 0
    assert "api_key: '***'" in out
    assert "sk-very-secret" not in out
    assert "sk-very-secret" not in run("show", "cloud", "--origin", OPENAI_API_KEY="sk-very-secret")[1]


def test_show_for_programs(bad: Path) -> None:
    code, out, err = run("show", "cloud", "--json", OPENAI_API_KEY="sk-very-secret")
    assert (code, err) == (0, "")
    shown = json.loads(out)
    assert shown["llm"]["api_key"] == "***" and "sk-very-secret" not in out
    assert shown == config_data(load_config("cloud", environ={"OPENAI_API_KEY": "sk-very-secret"}))
    assert run("show", "--json", "--origin")[0] == 2
    assert run("show", str(bad), "--json")[:2] == (1, "")


def test_show_with_origins() -> None:
    _, out, _ = run("show", "tiny", "--origin", "--set", "stt.language=no")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "language: 'no' # --set" in lines
    assert any(line.startswith("model: smollm2-135m-instruct # packaged tiny.yaml:") for line in lines)
    assert "start_ms: 96.0 # default" in lines


def test_show_of_a_wrong_configuration(bad: Path) -> None:
    code, out, err = run("show", str(bad))
    assert (code, out) == (1, "")
    assert err.startswith("2 problems:\n")


def test_a_wrong_override_names_its_key() -> None:
    code, _, err = run("show", "--set", "stt.modle=x")
    assert code == 1
    assert err.startswith("--set: stt.modle: unknown key; did you mean 'model'?")


def test_schema() -> None:
    code, out, err = run("schema")
    assert (code, err) == (0, "")
    assert json.loads(out) == json_schema()
