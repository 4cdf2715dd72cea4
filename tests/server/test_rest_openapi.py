"""`/openapi.json` is true: what it describes is what is answered, whatever is sent. By schemathesis."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from scripted_config import GivenOptions
from served import config, serving

from antiphon.engines.protocols import STTCapabilities
from antiphon.engines.testing import Heard, ScriptedSTT
from antiphon.pipeline.config import engine_block
from antiphon.server.app import create_app
from antiphon.server.service import Service

pytest.importorskip("schemathesis", reason="needs the package schemathesis (extra dev)")

EXAMPLES = 5
"""Of each call, in each way of making it up."""

SETTINGS = """
[checks]
# What a schema cannot say (a tool that is chosen must be among the tools; some letter must be pronounceable) is a 400.
positive_data_acceptance.expected-statuses = ["2xx", 400]

[phases.coverage]
unexpected-methods = ["OPTIONS", "PUT"]

# Nor which models, conversations and calls there are, and what may be done with them just now.
[[operations]]
include-path-regex = "[{]|admin|calls"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 404, 409, 415, 501, 503]
"""

HOOKS = """
import io, wave
import schemathesis
from hypothesis import strategies as st

recording = io.BytesIO()
with wave.open(recording, "wb") as file:
    file.setparams((1, 2, 16000, 0, "NONE", ""))
    file.writeframes(bytes(320))
schemathesis.openapi.format("binary", st.just(recording.getvalue()))
"""
"""Uploads are recordings: no schema says what those are."""


@pytest.mark.timeout(300)
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    options = [
        "--max-examples", str(EXAMPLES), "--seed", "5", "--generation-deterministic", "--no-color", "--workers", "1",
        "--phases", "examples,coverage,fuzzing", "--mode", "all", "--request-timeout", "10",
    ]  # fmt: skip
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    (tmp_path / "antiphon_hooks.py").write_text(HOOKS)

    capable = STTCapabilities(word_times=True, translates=True)
    stt = ScriptedSTT([Heard("what time is it")], repeat=True, capabilities=capable)
    block = engine_block("stt", "scripted_config:given", GivenOptions(engine=stt))
    given = config({"max_upload_mb": 1}).model_copy(update={"stt": (block,)})

    async def main() -> tuple[int, str]:
        async with serving(given) as (address, _):
            process = await asyncio.create_subprocess_exec(
                str(Path(sys.executable).with_name("schemathesis")), "run", f"http://{address}/openapi.json", *options,
                cwd=tmp_path, env={**os.environ, "SCHEMATHESIS_HOOKS": "antiphon_hooks", "PYTHONPATH": str(tmp_path)},
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            said = (await process.communicate())[0].decode()
            assert process.returncode is not None
            return process.returncode, said

    code, said = asyncio.run(main())
    assert code == 0, "\n".join(line[:200] for line in said.splitlines())


def test_the_description_reads_well() -> None:
    described = create_app(Service(config())).openapi()
    operations = {
        f"{method} {path}": operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    names = [operation["operationId"] for operation in operations.values()]
    assert len(set(names)) == len(names) and all(name.isidentifier() and "v1" not in name for name in names)
    assert {"speech", "transcriptions", "chat_completions", "models", "model", "health", "begin_calls"} <= set(names)
    tags = {tag["name"] for tag in described["tags"]}
    for place, operation in operations.items():
        assert operation["description"] and operation["summary"] == operation["summary"].strip(), place
        assert len(operation["tags"]) == 1 and set(operation["tags"]) <= tags, place
        assert ("/v1/" in place or "metrics" in place) == bool(operation["security"]), place
        assert {"4XX", "5XX"} <= set(operation["responses"]), place
