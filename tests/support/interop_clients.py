"""Programs of other people's clients, as the interop tests run them."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
INTEROP = ROOT / "interop"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


PAGE = f"http://localhost:{free_port()}"
"""Where the browser's page comes from: another origin than the server's, as in life."""


def _installer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("interop_install", INTEROP / "install.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


install = _installer()


def sdk_python(name: str) -> str:
    """The interpreter of an SDK's environment."""
    if not install.ready(name):
        pytest.fail(f"the environment '{name}' is missing, or holds other versions: make interop")
    return str(install.python_of(name))


def run_client(*command: str, timeout_s: float = 90.0) -> dict[str, Any]:
    """What a client's program reports: the last line it prints, a JSON object; with `status`, how it ended."""
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "OPENAI_API_KEY")}
    done = _ended(command, environ, timeout_s)
    lines = done.stdout.strip().splitlines()
    if not lines:
        pytest.fail(f"{command[1]} printed nothing and ended with {done.returncode}:\n{done.stderr[-4000:]}")
    told: dict[str, Any] = json.loads(lines[-1])
    if told.get("failure"):
        pytest.fail(
            f"{told['failure']}\n{json.dumps({k: v for k, v in told.items() if k != 'failure'})}\n{done.stderr[-3000:]}"
        )
    return {**told, "status": done.returncode}


def _ended(command: tuple[str, ...], environ: dict[str, str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """One that takes too long is asked to end before it is killed: it has browsers to close."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ, cwd=INTEROP
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                out, err = process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
            pytest.fail(f"{command[1]} did not end within {timeout_s:g} s:\n{out[-2000:]}\n{err[-4000:]}")
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def package_version(name: str) -> str:
    """Of a Node package."""
    return str(json.loads((INTEROP / "node_modules" / name / "package.json").read_text("utf-8"))["version"])
