"""A peer for tests, run as a driver: hears a beep, answers with a beep. Its mode comes as the job's instructions.

echo        answers each turn: loud frames, then 200 ms of quiet ones
whole       answers at the end of a recording
chatty      the same as echo, but prints to standard output and talks to standard error
broken      cannot load
mute        never says that it is ready
dies        leaves at the first audio
crashes     fails at the first audio
garbage     sends what is no frame at the first audio
unwilling   reports an error instead of an answer
curious     tries to reach another machine at the first audio, and tells what came of it
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "peers" / "drivers"))

import numpy as np
from peer_wire import Wire, serve

OUT_HZ = 22050
QUIET_FRAMES = 10


class FakePeer:
    def __init__(self, mode: str, wire: Wire) -> None:
        self.mode, self.wire = mode, wire
        self.conversations = 0
        self.loud = 0
        self.quiet = 0

    async def open(self, keep: bool) -> None:
        self.conversations += not keep
        self.loud = self.quiet = 0

    async def audio(self, pcm: bytes) -> None:
        if self.mode == "dies":
            os._exit(3)
        if self.mode == "crashes":
            raise ValueError("a scripted failure")
        if self.mode == "garbage":
            os.write(self.wire._out, b"no frame at all")
        if self.mode == "curious":
            self._look_outside()
        samples = np.frombuffer(pcm, np.int16)
        if np.abs(samples).max(initial=0) > 3000:
            self.loud, self.quiet = self.loud + len(samples), 0
        elif self.loud:
            self.quiet += 1
            if self.quiet == QUIET_FRAMES and self.mode != "whole":
                self._answer()

    async def end(self) -> None:
        self._answer()

    async def close(self) -> None:
        self.wire.send("clear")

    async def aclose(self) -> None:
        sys.stderr.write("the fake peer leaves\n")

    def _answer(self) -> None:
        wire = self.wire
        if self.mode == "unwilling":
            wire.event("commit")
            wire.send("error", message="no voice today", fatal=False)
            wire.event("done")
            return
        if self.mode == "chatty":
            sys.stdout.write("this must not disturb the wire\n")
            os.write(1, b"nor must this\n")
        for name in ("vad_stop", "heard", "commit", "first_token", "first_audio"):
            wire.event(name, f"{self.loud} samples" if name == "heard" else "")
        tone = 0.3 * np.sin(2 * np.pi * 200 * np.arange(OUT_HZ // 2) / OUT_HZ)
        wire.audio((tone * 32767).astype("<i2").tobytes(), OUT_HZ)
        wire.event("reply", f"conversation {self.conversations}")
        wire.event("done")
        self.loud = self.quiet = 0

    def _look_outside(self) -> None:
        self.mode = "echo"
        try:
            socket.create_connection(("192.0.2.1", 80), timeout=0.1)
        except PermissionError as error:
            self.wire.event("heard", str(error))


async def load(job: dict[str, Any], wire: Wire) -> FakePeer:
    mode = job["instructions"]
    if mode == "broken":
        raise RuntimeError("a model that is no model")
    if mode == "mute":
        await asyncio.sleep(60)
    secrets = sorted(name for name in os.environ if name.startswith(("OPENAI_API", "LIVEKIT_")))
    wire.send("ready", versions={"fake": "1"}, settings={"mode": mode, "secrets": " ".join(secrets)})
    return FakePeer(mode, wire)


if __name__ == "__main__":
    asyncio.run(serve(load))
