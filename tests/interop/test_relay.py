"""A relay (TURN) between a browser and the server, at either end: coturn, with one name and password, on loopback."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from browser_calls import Browser
from interop_clients import PAGE, free_port, install
from interop_desk import CONFIG
from served_process import served_process

pytestmark = [pytest.mark.interop, pytest.mark.parametrize("installed", ["chromium"], indirect=True)]
"""Firefox sends nothing to a relay on loopback."""
UNREACHABLE = "203.0.113.1"
"""An address that nobody has."""
START_S = 30.0


@dataclass(frozen=True, slots=True)
class Relay:
    url: str
    username: str
    password: str

    def for_browsers(self) -> dict[str, str]:
        return {"urls": self.url, "username": self.username, "credential": self.password}


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    try:
        program = install.program("turnserver")
    except install.Missing as error:
        pytest.fail(str(error))
    folder, port = tmp_path_factory.mktemp("relay"), free_port()
    made = Relay(f"turn:127.0.0.1:{port}?transport=udp", "antiphon", secrets.token_hex())
    command = [
        program, "-n", "--no-tls", "--no-dtls", "--no-cli", "--lt-cred-mech", "--fingerprint", "--realm", "test",
        "--user", f"{made.username}:{made.password}", "--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1",
        "--listening-port", str(port), "--allow-loopback-peers", "--relay-threads", "1",
        "--userdb", str(folder / "users"), "--pidfile", str(folder / "pid"), "--log-file", str(folder / "log"),
        "--simple-log",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder) as process:
        try:
            _until_it_answers(port, process, folder / "log")
            yield made
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def _until_it_answers(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """A STUN binding request is answered."""
    request = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + os.urandom(12)
    ends_s = time.monotonic() + START_S
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect(("127.0.0.1", port))
        asking.settimeout(0.2)
        while time.monotonic() < ends_s and process.poll() is None:
            try:
                asking.send(request)
                if asking.recv(1500)[8:20] == request[8:20]:
                    return
            except ConnectionRefusedError:
                time.sleep(0.05)
            except TimeoutError:
                pass
    told = log.read_text("utf-8") if log.exists() else ""
    pytest.fail(f"coturn did not begin (status {process.poll()}): {told[-2000:]}")


def test_a_browser_that_reaches_nothing_but_a_relay(browser: Browser, desk_server: str, relay: Relay) -> None:
    """Of which the server needs to know nothing."""
    told = browser.talk(desk_server, "spoken", "time", 3.0, relay=relay.for_browsers(), what="through a relay (TURN)")
    assert told["path"][0] == "relay"
    assert told["said"] == ["Arr, it is noon."] and told["heard"]["energy"] > 0.001


@pytest.fixture(scope="module")
def hidden_server(relay: Relay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that calls reach by its relay alone."""
    path = tmp_path_factory.mktemp("hidden") / "desk.yaml"
    webrtc = (
        f"{{advertised: {UNREACHABLE}, turn: '{relay.url}', turn_username: {relay.username}, "
        f"turn_password: '{relay.password}'}}"
    )
    path.write_text(f"{CONFIG}server: {{allowed_origins: ['{PAGE}'], capacity: 'off', webrtc: {webrtc}}}\n", "utf-8")
    with served_process(path) as server:
        yield server.address


def test_a_server_that_is_reached_by_its_relay_alone(browser: Browser, hidden_server: str) -> None:
    """The page's offer names no address: the relay lets in whoever asked for the call."""
    told = browser.talk(
        hidden_server, "interruption", "story", 2.5, "time", 3.0, what="to a server behind a relay (TURN)"
    )
    assert told["path"][1] == "relay" and told["heard"]["energy"] > 0.001
    assert told["statuses"] == ["cancelled", "completed"] and told["said"][-1] == "Arr, it is noon."
