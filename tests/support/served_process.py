"""`antiphon serve` in a process of its own: what is asked of it cannot be mixed up with what the test does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SUPPORT = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready."""

    address: str
    """Such as 127.0.0.1:40001."""
    pid: int


@contextmanager
def served_process(config: Path) -> Iterator[Server]:
    """A server of this configuration, ready; scripted engines of `tests/support` can be named in it.

    :raises RuntimeError: it did not start.
    """
    command = [sys.executable, "-m", "antiphon", "serve", str(config), "--port", "0"]
    environ = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        try:
            assert process.stdout is not None
            told = next((line for line in process.stdout if line.startswith("ready: http")), None)
            if told is None:
                raise RuntimeError(f"the server did not start: status {process.wait()}")
            yield Server(told.split()[1].partition("://")[2], process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=300)
            except subprocess.TimeoutExpired:
                process.kill()
