"""What the README and the pages show is run: Python as it stands, commands on the smallest models, YAML checked."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
import yaml
from openai_standin import OpenAIStandin
from scripted_config import Script

import antiphon
from antiphon import VoicePipeline, load_config
from antiphon.engines.models.store import default_catalog
from antiphon.engines.protocols import ToolCall
from antiphon.engines.registry import BUILTINS
from antiphon.engines.testing import Heard, Reply
from antiphon.pipeline.config import Config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
QUESTION = "What is the capital of France?"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], re.M | re.S)


def every_block(language: str) -> list[Any]:
    return [
        pytest.param(block, id=f"{page}-{number}")
        for page in PAGES
        for number, block in enumerate(blocks(page, language), 1)
    ]


def antiphon_command(*arguments: str, cwd: Path, stdin: str = "", home: Path | None = None) -> str:
    """Run the installed command; what it printed."""
    done = subprocess.run(
        [Path(sys.executable).with_name("antiphon"), *arguments],
        cwd=cwd,
        env={**os.environ, **({"ANTIPHON_HOME": str(home)} if home else {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with question.wav, spoken by the packaged voice."""
    made = tmp_path_factory.mktemp("readme")
    antiphon_command("say", "tiny.yaml", QUESTION, "--out", "question.wav", cwd=made)
    return made


# ----------------------------------------------------------------------------------------------- shell

NOT_RUN = {
    "make demo": "runs before the tests do",
    "make test": "is what runs this",
    "antiphon run": "wants a microphone",
    "antiphon serve": "goes on for ever: tests/server/test_serving.py runs it",
    ". .venv/bin/activate": "is where these tests run",
}

RUN: dict[str, str] = {
    'antiphon say "What is the capital of France?" --out question.wav': "say tiny.yaml 'What is it?' --out said.wav",
    "antiphon run --in question.wav --out answer.wav --events events.jsonl": (
        "run tiny.yaml --in question.wav --out answer.wav --events events.jsonl --fast"
    ),
    "antiphon transcribe question.wav --format srt": "transcribe tiny.yaml question.wav --format srt",
    "antiphon chat": "chat tiny.yaml",
    "antiphon doctor": "doctor tiny.yaml",
    "antiphon config show tiny.yaml": "config show tiny.yaml",
    "antiphon engines show piper": "engines show piper",
    "antiphon models list": "models list",
    "antiphon bench scenarios clips": "bench scenarios clips --only question",
    "antiphon bench run tiny.yaml local.yaml --clips clips --limit 20 --out out/bench": (
        "bench run tiny.yaml --clips clips --limit 1 --out bench --force"
    ),
    "antiphon models pull --for local.yaml": "models pull --for tiny.yaml",
    "antiphon models export --for local.yaml --out models.tar": "models export --for tiny.yaml --out models.tar",
}
EXPECTED = {
    "say": "said.wav",
    "run": "capital of France",
    "transcribe": "00:00:00,",
    "chat": "",
    "doctor": "llm",
    "config show": "whisper-tiny.en",
    "engines show": "GPL-3.0-or-later",
    "models list": "whisper-tiny.en",
    "bench scenarios": "clips",
    "bench run": "TTFA",
    "models pull": "",
    "models export": "models.tar",
}


def shown_commands() -> Iterator[str]:
    for block in blocks("README.md", "sh"):
        for line in block.splitlines():
            command = line.partition(" #")[0].strip()
            if command:
                yield command


def test_every_command_of_the_readme_is_known_here() -> None:
    shown = set(shown_commands())
    assert shown == {*RUN, *NOT_RUN, "antiphon models import models.tar"}


@pytest.mark.real
@pytest.mark.parametrize("shown", RUN)
def test_a_command_of_the_readme(shown: str, folder: Path) -> None:
    arguments = shlex.split(RUN[shown])
    printed = antiphon_command(*arguments, cwd=folder, stdin="Hello.\n" if arguments[0] == "chat" else "")
    name = " ".join(arguments[:2]) if arguments[0] in ("config", "engines", "models", "bench") else arguments[0]
    assert EXPECTED[name] in printed
    assert all((folder / path).stat().st_size > 0 for path in arguments if path.endswith((".wav", ".jsonl", ".tar")))


@pytest.mark.real
def test_models_are_carried_over(folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "models.tar"
    antiphon_command("models", "export", "silero-vad", "--out", str(archive), cwd=folder)
    antiphon_command("models", "import", str(archive), cwd=folder, home=tmp_path / "home")
    listed = antiphon_command("models", "path", "silero-vad", cwd=folder, home=tmp_path / "home")
    assert str(tmp_path / "home") in listed


def test_the_commands_are_shown_in_their_environment() -> None:
    (commands,) = [block for block in blocks("README.md", "sh") if "antiphon say" in block]
    assert commands.splitlines()[0] == ". .venv/bin/activate"


def test_the_targets_that_are_shown_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make ([a-z]+)", README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        assert re.search(rf"^{target}:", makefile, re.M), target


# ---------------------------------------------------------------------------------------------- Python


def execute(code: str) -> None:
    # A page about the tests' own server shows what is done with it.
    exec(compile(code, "shown", "exec"), {"__name__": "__main__", "OpenAIStandin": OpenAIStandin})


@pytest.mark.real
def test_the_first_program_answers(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(antiphon, "VoicePipeline", lambda: VoicePipeline(config="tiny.yaml"), raising=False)
    execute(blocks("README.md", "python")[0])
    printed = capsys.readouterr().out
    assert "user: What is the capital of France?" in printed and "assistant: " in printed
    samples, rate_hz = soundfile.read(folder / "answer.wav")
    assert rate_hz == 24000 and abs(samples).max() > 0.05


def test_the_agent_calls_its_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    script = Script(
        stt=[Heard("What is the weather in Paris?")],
        llm=[Reply(tool_calls=[ToolCall("1", "get_weather", '{"city": "Paris"}')]), Reply(["It is sunny there."])],
    )
    soundfile.write(tmp_path / "question.wav", [0.0] * 24000, 24000)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(antiphon, "VoicePipeline", script.pipeline, raising=False)
    execute(blocks("README.md", "python")[1])
    assert capsys.readouterr().out == "It is sunny there.\n"
    assert "The weather in Paris is sunny." in [message.content for message in script.llm_engine.calls[1].messages]


ELSEWHERE = ("README", "docs/realtime.md")
"""Above; and with a server: tests/server/test_realtime_docs.py."""


@pytest.mark.parametrize("code", [block for block in every_block("python") if not str(block.id).startswith(ELSEWHERE)])
def test_a_program_of_the_pages(code: str) -> None:
    execute(code)


# ------------------------------------------------------------------------------------------- examples


def run_example(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "examples" / name, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.real
def test_the_example_that_answers_a_recording(folder: Path, tmp_path: Path) -> None:
    done = run_example("answer_a_recording.py", str(folder / "question.wav"), str(tmp_path / "a.wav"), "tiny.yaml")
    assert done.returncode == 0, done.stderr
    assert f"user: {QUESTION}" in done.stdout
    assert soundfile.info(tmp_path / "a.wav").duration > 0.3


@pytest.mark.real
def test_the_example_of_an_own_workflow(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.wav"
    printed = antiphon_command(
        "run", "own_workflow.yaml", "--in", str(folder / "question.wav"), "--out", str(out), "--fast",
        cwd=ROOT / "examples",
    )  # fmt: skip
    assert "Line 1. What is the capital of France?" in printed and out.exists()


def test_the_weather_example_has_the_readmes_agent() -> None:
    example = (ROOT / "examples" / "weather_agent.py").read_text(encoding="utf-8")
    tool = 'def get_weather(city: str) -> str:\n    """The weather in a city."""\n'
    assert tool in example and tool in README
    done = run_example("weather_agent.py", "no_such_file.wav")
    assert done.returncode == 1 and "no_such_file.wav" in done.stderr, "it imports, and reads its input first"


def test_every_example_has_its_test() -> None:
    names = {path.name for path in (ROOT / "examples").iterdir() if path.suffix in (".py", ".yaml")}
    own = {"answer_a_recording.py", "own_workflow.py", "own_workflow.yaml", "weather_agent.py"}
    assert names == {
        *own,
        *("mcp_agent.py", "support_handoff.py"),  # tests/pipeline/test_agent_sessions.py
        "stream_client.py",  # tests/server/test_serving.py
        *("audiosocket_client.py", "media_stream_client.py"),  # tests/server/test_telephony_served.py
        "wyoming_client.py",  # the same
        *("bank_transfer.py", "bank_transfer.yaml"),  # tests/pipeline/test_example_bank.py, test_policy_example.py
    }


# ------------------------------------------------------------------------------------------------ YAML


@pytest.mark.parametrize("block", every_block("yaml"))
def test_a_configuration_that_is_shown_is_valid(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = yaml.safe_load(block)
    if not set(document) <= {*Config.model_fields, "extends"}:
        assert set(document) == {"models"} or "models" in document, "a catalog"
        return
    for name in re.findall(r"\$\{(\w+)\}", block):
        monkeypatch.setenv(name, "some-value")
    text = block if "extends" in document else f"extends: local.yaml\nsession: {{offline: false}}\n{block}"
    if "session" in document and "extends" not in document:
        text = f"extends: local.yaml\n{block}"
    (tmp_path / "shown.yaml").write_text(text, encoding="utf-8")
    load_config(tmp_path / "shown.yaml")


def test_the_readme_names_every_packaged_configuration() -> None:
    for path in (ROOT / "configs").glob("*.yaml"):
        assert f"`{path.name}`" in README


# -------------------------------------------------------------------------------------------- licences


def rows(header: str) -> list[list[str]]:
    """The rows of the README's table with this first column."""
    table = README.partition(f"| {header} |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_the_licences_of_the_engines_are_the_registrys() -> None:
    shown = {}
    for name, _, licence, extra in rows("engine"):
        stages, _, engine = name.partition(": ")
        for stage in stages.split(", "):
            shown[stage, engine.strip("`")] = (licence, extra.strip("`"))
    assert shown == {(spec.stage, spec.name): (spec.licence or "Apache-2.0", spec.extra) for spec in BUILTINS}


def test_the_licences_of_the_models_are_the_catalogs() -> None:
    catalog = default_catalog()
    builtin = {name: catalog[name] for name in catalog}
    shown = {name.strip("`"): (stage, licence) for name, stage, licence in rows("model")}
    assert shown == {name: (entry.stage, entry.licence) for name, entry in builtin.items()}


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 240 and all(len(line) < 200 for line in README.splitlines())
