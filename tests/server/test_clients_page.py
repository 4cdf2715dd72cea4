"""The commands and programs of docs/clients.md, run as they stand; behind the server is the scripted desk."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from interop_clients import free_port
from interop_desk import CONFIG, QUESTIONS
from served_process import served_process

PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text("utf-8")
SHOWN = "127.0.0.1:8080"
WEATHER = QUESTIONS[400]
WYOMING_PORT = free_port()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]
FOREIGN = ("livekit", "pipecat")
"""They need environments of their own: tests/interop runs them."""
PROGRAMS = [block for block in blocks("py") if not any(name in block for name in FOREIGN)]
WYOMING = "127.0.0.1:10400"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("desk") / "desk.yaml"
    path.write_text(f"{CONFIG}server: {{capacity: 'off', wyoming: {{port: {WYOMING_PORT}}}}}\n", "utf-8")
    with served_process(path) as found:
        yield found.address


@pytest.fixture(scope="module")
def folder(server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where question.wav lies, made by the first command of the page."""
    made = tmp_path_factory.mktemp("clients")
    shell(COMMANDS[0], server, made)
    return made


def shell(command: str, server: str, folder: Path) -> str:
    assert shutil.which("curl"), "the page's commands need curl"
    done = subprocess.run(
        ["bash", "-c", command.replace(SHOWN, server) + " --fail"],
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def program(code: str, server: str, folder: Path) -> list[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    done = subprocess.run(
        [sys.executable, "-c", code.replace(SHOWN, server).replace(WYOMING, f"127.0.0.1:{WYOMING_PORT}")],
        cwd=folder, capture_output=True, text=True, timeout=300, check=False, env=environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_nothing_on_the_page_is_left_out() -> None:
    """Each command is run here, and each program; those for Node and other frameworks in tests/interop."""
    assert set(re.findall(r"^```(\w+)$", PAGE, re.M)) == {"sh", "py", "js"}
    assert (len(PROGRAMS), len(blocks("py")), len(blocks("js"))) == (4, 4 + len(FOREIGN), 2)


def test_the_question_can_be_heard(folder: Path) -> None:
    info = soundfile.info(folder / "question.wav")
    assert (info.samplerate, info.channels) == (24000, 1) and info.duration > 1


@pytest.mark.parametrize("command", COMMANDS[1:], ids=lambda text: text.split("8080")[1][:40])
def test_a_command(command: str, server: str, folder: Path) -> None:
    printed = shell(command, server, folder)
    match re.search(r"8080(\S+)", command).group(1):  # type: ignore[union-attr]
        case "/v1/audio/transcriptions":
            assert WEATHER in printed
            if "stream" in command:
                assert "transcript.text.done" in printed
        case "/v1/chat/completions":
            assert "noon" in printed
            assert printed.rstrip().endswith("data: [DONE]" if "stream" in command else "}")
        case "/v1/models":
            assert json.loads(printed)["object"] == "list"
        case "/openapi.json":
            assert "/v1/realtime/client_secrets" in json.loads(printed)["paths"]
        case "/v1/realtime/client_secrets":
            assert json.loads(printed)["value"].startswith("ek_")
        case "/healthz" | "/readyz":
            assert json.loads(printed)["status"] in ("ok", "ready")
        case other:
            pytest.fail(f"nothing is expected of {other}")


def test_openai(server: str, folder: Path) -> None:
    assert program(PROGRAMS[0], server, folder) == [f"user: {WEATHER}", "assistant: It is noon."]
    assert soundfile.info(folder / "answer.wav").duration == pytest.approx(len("It is noon.") * 0.06, rel=0.1)


def test_the_agents_sdk(server: str, folder: Path) -> None:
    assert program(PROGRAMS[1], server, folder) == ["tool: Sunny in Oslo."]


def test_agents_voice(server: str, folder: Path) -> None:
    user, answered = program(PROGRAMS[2], server, folder)
    assert user == f"user: {WEATHER}"
    assert float(answered.split()[2]) == pytest.approx(len(f"You said: {WEATHER}") * 0.06, rel=0.1)


def test_wyoming(server: str, folder: Path) -> None:
    hears, speaks, answers = program(PROGRAMS[3], server, folder)
    assert all(line.partition(": ")[2] for line in (hears, speaks, answers)), (hears, speaks, answers)


def test_no_program_is_forgotten() -> None:
    assert len(PROGRAMS) == 4 and len(blocks("py")) == 6 and len(blocks("js")) == 2
    for code in blocks("py"):
        ast.parse(code)
