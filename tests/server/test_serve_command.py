"""`antiphon serve` as an operator starts it wrongly: every message names the place, what is wrong, and what to do."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scripted_engines import write_config
from typer.testing import CliRunner, Result

from antiphon.pipeline.cli import app
from antiphon.pipeline.errors import ConfigError
from antiphon.server.listening import listen_at

SUPPORT = Path(__file__).parents[1] / "support"


def serve(tmp_path: Path, *settings: str, environ: dict[str, str] | None = None) -> Result:
    """Never listens for longer than it takes to fail."""
    words = ["serve", str(write_config(tmp_path)), "--port", "0"]
    for one in settings:
        words += ["--set", f"server.{one}"]
    return CliRunner().invoke(app, words, env={"ANTIPHON_HOME": str(tmp_path), **(environ or {})})


def bad_keys(tmp_path: Path, text: str, mode: int = 0o600) -> str:
    path = tmp_path / "bad.json"
    path.write_text(text)
    path.chmod(mode)
    return f"keys_file={path}"


@pytest.mark.parametrize(
    ("settings", "place", "what"),
    [
        (["host=0.0.0.0"], "server.host", "there are no keys to ask for"),
        (["host=not.a.host.invalid"], "server.host", "there are no keys to ask for"),
        (["tls_cert=/no/cert.pem", "tls_key=/no/key.pem"], "/no/cert.pem", "No such file or directory"),
        (["tls_cert=/no/cert.pem"], "server", "tls_cert and tls_key belong together"),
        (["audit_log=/no/such/folder/audit.jsonl"], "server.audit_log", "the audit log cannot be written"),
        (["capacity_from=/no/result.json"], "server.capacity_from", "cannot be read"),
        (["allowed_addresses=[10.0.0.1/8]"], "server.allowed_addresses", "10.0.0.0/8 is the one that it is in"),
        (["proxy_headers=[proxy]"], "server.proxy_headers", "is no address and no network"),
        (["wyoming.port=0", "wyoming.host=0.0.0.0"], "server.wyoming.host", "allowed_addresses: [192.168.1.0/24]"),
        (["audiosocket.port=0", "audiosocket.host=::"], "server.audiosocket.host", "this protocol has no keys"),
        (["tracing.endpoint=ftp://there"], "server.tracing.endpoint", "ftp://there"),
        (["prot=1"], "server.prot", "did you mean 'port'?"),
    ],
)
def test_what_cannot_be_is_told_with_its_place(tmp_path: Path, settings: list[str], place: str, what: str) -> None:
    result = serve(tmp_path, *settings)
    told = " ".join(result.output.split())
    assert result.exit_code == 2, told
    assert told.startswith("error: ") and place in told and what in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("text", "mode", "what"),
    [
        ("not json", 0o600, "bad.json"),
        ('{"keys": 3}', 0o600, "bad.json"),
        ("{}", 0o644, "chmod 600"),
    ],
)
def test_a_file_of_keys_that_cannot_be_used_is_told(tmp_path: Path, text: str, mode: int, what: str) -> None:
    result = serve(tmp_path, bad_keys(tmp_path, text, mode))
    assert result.exit_code == 2 and what in result.output and "Traceback" not in result.output


def test_a_key_of_the_environment_that_could_be_guessed_is_told_and_not_shown(tmp_path: Path) -> None:
    result = serve(tmp_path, environ={"ANTIPHON_API_KEYS": "desk:all:opensesame"})
    assert result.exit_code == 2 and "ANTIPHON_API_KEYS: entry 1 ('desk')" in result.output
    assert "opensesame" not in result.output


@pytest.mark.parametrize(
    ("error", "key", "what", "do"),
    [
        (OSError(errno.EADDRINUSE, "in use"), "server.port", "port 80 of h is taken by another program", "--port"),
        (PermissionError(errno.EACCES, "denied"), "server.port", "may not be listened at by this user", "below 1024"),
        (OSError(errno.EADDRNOTAVAIL, "not there"), "server.host", "'h' is no address of this machine", "0.0.0.0"),
        (socket.gaierror(-2, "unknown"), "server.host", "'h' is no address, and no name", "127.0.0.1"),
        (OSError(errno.EMFILE, "Too many open files"), "server.port", "h port 80: Too many open files", ""),
    ],
)
def test_why_it_cannot_be_listened_there(
    monkeypatch: pytest.MonkeyPatch, error: OSError, key: str, what: str, do: str
) -> None:
    def fail(*_: Any, **__: Any) -> socket.socket:
        raise error

    monkeypatch.setattr(socket, "create_server", fail)
    with pytest.raises(ConfigError) as caught:
        listen_at("h", 80, section="server", backlog=1)
    assert caught.value.key == key and what in str(caught.value) and do in caught.value.hint


def test_a_signal_to_reload_while_it_starts_does_not_end_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "antiphon", "serve", str(write_config(tmp_path)), "--port", "0"]
    environ = {**os.environ, "PYTHONPATH": str(SUPPORT), "ANTIPHON_HOME": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline().startswith("ready: http://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=300) == 0
