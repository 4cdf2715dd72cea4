"""`antiphon engines list | show`."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from antiphon.engines import registry
from antiphon.engines.registry import BUILTINS, EngineSpec
from antiphon.pipeline.cli.engines import app

RUNNER = CliRunner()
MISSING = EngineSpec(
    "stt", "elsewhere", "Needs more.", "toy_engines:ToyOptions", "toy_engines:Toy", "cloud", ("no_such_package",)
)


def run(*arguments: str) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, list(arguments), env={"COLUMNS": "80", "NO_COLOR": "1"})
    if result.exception is not None:
        assert isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def with_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {**registry.specs(), ("stt", "elsewhere"): MISSING}
    monkeypatch.setattr("antiphon.pipeline.cli.engines.specs", lambda: table)
    monkeypatch.setattr(registry, "specs", lambda: table)


def test_list_has_every_engine_in_80_columns() -> None:
    code, out, err = run("list")
    assert (code, err) == (0, "")
    for spec in BUILTINS:
        assert f"  {spec.name} " in out
        assert spec.licence in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_list_for_programs() -> None:
    listed = json.loads(run("list", "--json")[1])
    assert [(item["stage"], item["name"]) for item in listed[: len(BUILTINS)]] == [(s.stage, s.name) for s in BUILTINS]
    assert listed[0]["installed"] is (listed[0]["missing_packages"] == [])


@pytest.mark.usefixtures("with_missing")
def test_an_engine_that_is_not_installed_is_told_apart() -> None:
    line = next(line for line in run("list")[1].splitlines() if "elsewhere" in line)
    assert line.rstrip().endswith("not installed")
    item = next(item for item in json.loads(run("list", "--json")[1]) if item["name"] == "elsewhere")
    assert (item["installed"], item["missing_packages"]) == (False, ["no_such_package"])
    assert 'not installed: pip install "antiphon[cloud]"' in run("show", "elsewhere")[1]


@pytest.mark.parametrize("spec", [pytest.param(spec, id=f"{spec.stage}.{spec.name}") for spec in BUILTINS])
def test_show_prints_every_option_with_type_unit_default_and_meaning(spec: EngineSpec) -> None:
    code, out, err = run("show", f"{spec.stage}.{spec.name}")
    assert (code, err) == (0, "")
    assert out.startswith(f"{spec.stage}.{spec.name}  ")
    text = " ".join(out.split())
    for name, info in spec.options_class().model_fields.items():
        assert f"  {name}: " in out
        assert " ".join(str(info.description).split()) in text
    assert all(len(line) <= 80 for line in out.splitlines())


def test_show_for_programs() -> None:
    (shown,) = json.loads(run("show", "vad.webrtcvad", "--json")[1])
    mode, frame_ms, _ = shown["options"]
    assert (mode["name"], mode["type"], mode["default"], mode["required"]) == ("mode", "one of 0, 1, 2, 3", "3", False)
    assert (frame_ms["unit"], frame_ms["secret"]) == ("ms", False)


def test_a_name_shows_the_engine_of_every_stage_that_has_it() -> None:
    out = run("show", "openai")[1]
    titles = [line.split()[0] for line in out.splitlines() if line.startswith(("stt.", "llm.", "tts."))]
    assert titles == ["stt.openai", "llm.openai", "tts.openai"]
    assert "secret, never shown" in out


def test_show_of_an_engine_of_ones_own() -> None:
    code, out, _ = run("show", "toy_engines:Toy")
    assert code == 0
    assert out.startswith("toy_engines:Toy  A toy for any stage.")
    assert "(required)" in run("show", "toy_engines:Needy")[1]
    assert "No options." in run("show", "toy_engines:Plain")[1]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("smart_trun", "no engine is named 'smart_trun'; did you mean 'smart_turn'?"),
        ("stt.faster_wisper", "did you mean 'stt.faster_whisper'?"),
        ("tts.pipr", "did you mean 'tts.piper'?"),
        ("zzz", "There are: vad.webrtcvad, vad.silero"),
        ("toy_engines:Nothing", "has no 'Nothing'"),
    ],
)
def test_an_unknown_engine(name: str, says: str) -> None:
    code, out, err = run("show", name)
    assert (code, out) == (1, "")
    assert says in err
