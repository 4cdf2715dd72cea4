"""docs/operating.md: its commands are run, its samples are read, its queries ask for what there is."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from network_clock import run_networked
from scripted_engines import write_config
from served import serving
from websockets.asyncio.client import connect

from antiphon.pipeline.config import Config, load_config, parse_config
from antiphon.server.observing.catalogue import exposed_names
from antiphon.server.service import Service

PAGE = (Path(__file__).parents[2] / "docs" / "operating.md").read_text("utf-8")
SHOWN = "http://127.0.0.1:8080"


def blocks() -> list[str]:
    """The indented samples."""
    found = re.findall(r"(?:^    .*\n|^\n(?=    ))+", PAGE, re.MULTILINE)
    return ["\n".join(line[4:] for line in block.strip("\n").splitlines()) for block in found]


COMMANDS = [line for block in blocks() for line in block.splitlines() if line.startswith("curl ")]
SAMPLES = [block[block.index("server:") :] for block in blocks() if "server:" in block]


def test_the_commands_of_the_page_work(tmp_path: Path) -> None:
    assert shutil.which("curl"), "the page's commands need curl"
    path = write_config(tmp_path, server="{port: 0}")

    def read() -> Config:
        return load_config(str(path))

    def shell(command: str) -> str:
        done = subprocess.run(["bash", "-c", f"{command} --fail -sS"], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    async def main() -> dict[str, str]:
        given = read()
        said = {}
        async with serving(given, Service(given, source=read)) as (address, service):
            async with connect(f"ws://{address}/v1/stream") as client:
                await client.send(bytes(640))
                async with asyncio.timeout(60):
                    while not [name for talk in service.talks for name in talk.sessions]:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                (session,) = [name for talk in service.talks for name in talk.sessions]
                for command in COMMANDS:
                    here = command.replace(SHOWN, f"http://{address}").replace("SESSION", session)
                    said[command] = await asyncio.to_thread(shell, here)
                    if "DELETE" in command:
                        await client.wait_closed()
            os.kill(os.getpid(), signal.SIGHUP)
            async with asyncio.timeout(60):
                while 'outcome="taken"} 2.0' not in (await service.figures())[0].decode():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        return said

    said = run_networked(main())
    assert len(said) == 8
    answers = {command: json.loads(text) for command, text in said.items() if "/metrics" not in command}
    assert any(one.get("changed") == [] for one in answers.values())
    assert "antiphon_ttfa_seconds" in next(text for command, text in said.items() if "/metrics" in command)


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_samples_are_configurations(sample: str, tmp_path: Path) -> None:
    read = parse_config(f"extends: local.yaml\n{sample}\n", directory=tmp_path)
    assert isinstance(read, Config)


def test_there_are_samples() -> None:
    keys = {key for sample in SAMPLES for key in re.findall(r"^  (\w+):", sample, re.MULTILINE)}
    assert {"log_format", "tracing", "capacity", "capacity_from", "when_full", "full_notice"} <= keys


def test_the_queries_ask_for_what_there_is() -> None:
    table = PAGE.partition("What to look at first")[2].partition("**False")[0]
    queries: list[Any] = re.findall(r"\| `(.+)` \|$", table, re.MULTILINE)
    assert len(queries) == 8
    for query in queries:
        promql_parser.parse(query)
        assert set(re.findall(r"antiphon_\w+", query)) <= exposed_names()


def test_every_key_of_the_page_is_one() -> None:
    config = parse_config("extends: local.yaml\n")
    for section, key in re.findall(r"`(server|session|speculation)\.(\w+)[`:]", PAGE):
        assert key in getattr(config, section).model_dump(), f"{section}.{key}"
    server = set(config.server.model_dump())
    assert {"capacity", "capacity_from", "capacity_p95_ms", "when_full", "max_wait_s"} <= server
