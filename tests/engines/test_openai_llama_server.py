"""The LLM engine `openai` against the real `llama_cpp.server`, in a process of its own on loopback."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai_standin import collect

from antiphon.engines.errors import EngineFailed, EngineRequestInvalid
from antiphon.engines.host import EngineHost
from antiphon.engines.llm.openai import OpenAILLM, OpenAILLMOptions
from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import Finish, LLMEvent, LLMOptions, Message, TextDelta
from antiphon.engines.registry import EngineContext

pytestmark = [pytest.mark.real, pytest.mark.interop]

MODEL = "smollm2-135m-instruct"
MESSAGES = [
    Message("system", "You answer in one short sentence."),
    Message("user", "What is the capital of France?"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a running server."""
    files = ModelStore().resolve(MODEL).files
    model = next(path for name, path in files.items() if name.endswith(".gguf"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("llama_server") / "log.txt"
    command = [sys.executable, "-m", "llama_cpp.server", "--model", model, "--model_alias", MODEL, "--n_ctx", "1024"]
    command += ["--n_threads", "2", "--host", "127.0.0.1", "--port", str(port), "--interrupt_requests", "true"]
    with log.open("wb") as output:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            _wait_until_up(f"http://127.0.0.1:{port}/v1/models", child, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(10)


def _wait_until_up(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and child.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.1)
    pytest.fail(f"llama_cpp.server did not start: {log.read_text(errors='replace')[-2000:]}")


def engine(server: str, **values: Any) -> OpenAILLM:
    values = {"model": MODEL, "temperature": 0.0, "max_tokens": 24, "timeout_s": 60.0, **values}
    return OpenAILLM(OpenAILLMOptions(base_url=server, **values), EngineContext(EngineHost(), ModelStore()))


def ask(server: str, options: LLMOptions | None = None, **values: Any) -> list[LLMEvent]:
    async def main() -> list[LLMEvent]:
        async with engine(server, **values) as llm:
            return await collect(llm.stream(MESSAGES, (), options or LLMOptions()))

    return asyncio.run(main())


def text_of(events: list[LLMEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_answers_in_pieces(server: str) -> None:
    events = ask(server)
    assert "Paris" in text_of(events)
    assert len([event for event in events if isinstance(event, TextDelta)]) > 3
    assert events[-1] == Finish("stop") and sum(isinstance(event, Finish) for event in events) == 1
    assert text_of(ask(server)) == text_of(events)


def test_the_token_limit_and_stop_words_hold(server: str) -> None:
    assert ask(server, LLMOptions(max_tokens=2))[-1] == Finish("length")
    events = ask(server, LLMOptions(stop=("Paris",)))
    assert "Paris" not in text_of(events) and events[-1] == Finish("stop")


def test_a_closed_stream_frees_the_server(server: str) -> None:
    async def main() -> None:
        async with engine(server, max_tokens=900) as llm:
            stream = llm.stream([Message("user", "Count from one to a thousand, one number a line.")])
            assert isinstance(await anext(stream), TextDelta)
            await stream.aclose()  # type: ignore[attr-defined]
            events = await collect(llm.stream(MESSAGES, (), LLMOptions(max_tokens=8)))
            assert "Paris" in text_of(events)

    asyncio.run(main())


def test_a_prompt_longer_than_the_context_is_an_error(server: str) -> None:
    async def main() -> None:
        async with engine(server, max_retries=0) as llm:
            await collect(llm.stream([Message("user", "word " * 3000)]))

    with pytest.raises((EngineRequestInvalid, EngineFailed)) as caught:
        asyncio.run(main())
    assert server in caught.value.message
