"""The programs of docs/clients.md that need Node, or an environment of their own."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
from interop_clients import INTEROP, ROOT, package_version, sdk_python

pytestmark = pytest.mark.interop
PAGE = (ROOT / "docs" / "clients.md").read_text("utf-8")
SHOWN = "127.0.0.1:8080"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


def output(*command: str) -> list[str]:
    done = subprocess.run(command, cwd=INTEROP, capture_output=True, text=True, timeout=60, check=False)
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
