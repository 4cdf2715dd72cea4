"""Runs llama-cpp-python's own OpenAI-protocol server on a free loopback port.

Executed by the benchmark as a child process, over the wire of `peer_wire`: "load" brings {"model": path, "alias": name,
"threads": n, "context": tokens}; "ready" answers with {"base_url": "http://127.0.0.1:PORT/v1"}.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

from peer_wire import Wire, serve  # type: ignore[import-not-found]  # it lies beside this script


class Server:
    """llama_cpp.server, on a socket that is bound before anything is loaded."""

    def __init__(self, job: dict[str, Any]) -> None:
        import uvicorn
        from llama_cpp.server.app import create_app
        from llama_cpp.server.settings import ModelSettings, ServerSettings

        model = ModelSettings(
            model=job["model"],
            model_alias=job["alias"],
            n_ctx=job["context"],
            n_threads=job["threads"],
            n_threads_batch=job["threads"],
            verbose=False,
        )
        app = create_app(server_settings=ServerSettings(interrupt_requests=True), model_settings=[model])
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))

    async def until_up(self) -> None:
        while not self._server.started:
            if self._task.done():
                await self._task
                raise RuntimeError("llama_cpp.server ended while it started")
            await asyncio.sleep(0.02)

    async def open(self, keep: bool) -> None:
        """It has no conversations."""

    async def audio(self, pcm: bytes) -> None:
        raise RuntimeError("the LLM server takes no audio")

    async def end(self) -> None:
        raise RuntimeError("the LLM server takes no audio")

    async def close(self) -> None:
        """It has no conversations."""

    async def aclose(self) -> None:
        self._server.should_exit = True
        await self._task


async def load(job: dict[str, Any], wire: Wire) -> Server:
    from importlib.metadata import version

    server = Server(job)
    await server.until_up()
    wire.send(
        "ready", base_url=server.base_url, versions={"llama-cpp-python": version("llama-cpp-python")}, settings={}
    )
    return server


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(serve(load))
