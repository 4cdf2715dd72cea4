"""The programs of docs/clients.md that need Node, or an environment of their own; and one of them on real models."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
from interop_clients import INTEROP, ROOT, package_version, sdk_python

pytestmark = pytest.mark.interop
PAGE = (ROOT / "docs" / "clients.md").read_text("utf-8")
SHOWN = "127.0.0.1:8080"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


def output(*command: str, cwd: Path = INTEROP) -> list[str]:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_program_for_node(node: str, desk_server: str, row: Any) -> None:
    row("@openai/agents-realtime in Node, WebSocket", package_version("@openai/agents-realtime"), "the page's program")
    code = blocks("js")[0].replace(SHOWN, desk_server)
    told = output(node, "--input-type=module", "-e", code)
    assert told == ["tool: Sunny in Oslo.", "assistant: I looked: Sunny in Oslo."]


def test_the_lines_for_browsers_are_those_that_are_run_in_one() -> None:
    run = (INTEROP / "browser" / "example.mjs").read_text("utf-8")
    lines = [line.partition(";")[0].strip() for line in blocks("js")[1].splitlines()]
    assert len(lines) == 2 and all(line in run for line in lines)


@pytest.mark.parametrize("name", ["livekit", "pipecat"])
def test_what_other_frameworks_are_given_is_taken(name: str) -> None:
    (code,) = [block for block in blocks("py") if f"from {name}." in block]
    inside = "".join(f"    {line}\n" for line in code.splitlines())
    output(sdk_python(name), "-c", f"import asyncio\nasync def main():\n{inside}asyncio.run(main())")


def test_the_program_for_python_on_real_models(real_server: str, tmp_path: Path) -> None:
    """The page's first command, and its first program: speech that is one, made, heard and answered by small models."""
    ask = blocks("sh")[0].replace(SHOWN, real_server).replace("the weather in Oslo", "the capital of France")
    output("bash", "-c", ask, cwd=tmp_path)
    user, assistant = output(sys.executable, "-c", blocks("py")[0].replace(SHOWN, real_server), cwd=tmp_path)
    assert "capital of france" in user.lower()
    assert len(assistant) > len("assistant: ") + 3
    samples, _ = soundfile.read(tmp_path / "answer.wav")
    assert abs(samples).max() > 0.05
