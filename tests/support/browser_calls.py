"""Calls of the vendor's browser example, the page of `interop/browser`, in a headless browser."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from interop_clients import INTEROP, PAGE, package_version, run_client
from interop_desk import write_recording

SDK = "@openai/agents-realtime"
LEAD_S = 3.0
"""The browser's microphone begins when it is opened, and the call somewhat later."""


def ephemeral_key(server: str) -> str:
    request = urllib.request.Request(
        f"http://{server}/v1/realtime/client_secrets",
        data=json.dumps({"session": {"type": "realtime", "model": "gpt-realtime-2"}}).encode(),
        headers={"Content-Type": "application/json", "Authorization": "Bearer any"},
    )
    with urllib.request.urlopen(request, timeout=300) as response:
        value: str = json.load(response)["value"]
    assert value.startswith("ek_")
    return value


class Browser:
    """Runs the page of `interop/browser`."""

    def __init__(self, node: str, installed: Any, folder: Path, row: Any) -> None:
        self._node, self._installed, self._folder, self._row = node, installed, folder, row

    def talk(self, server: str, scenario: str, *speech: str | float, **given: Any) -> dict[str, Any]:
        """A call in which the microphone hears `speech`: questions of the desk, and pauses in seconds."""
        microphone = write_recording(self._folder / "microphone.wav", LEAD_S, *speech, 2.0)
        return self.call(server, scenario, microphone, **given)

    def call(
        self, server: str, scenario: str, microphone: Path, *, what: str = "", relay: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """
        :param what: what the table says was done, if not the scenario's name.
        :param relay: the browser's only way out, as in `RTCConfiguration.iceServers`.
        """
        url = f"http://{server}/v1/realtime/calls"
        told = self._run(url, "WebRTC", server, what or scenario, scenario, str(microphone), json.dumps(relay))
        assert told["callId"], "the Location header says which call it is, and pages of other origins may read it"
        return told

    def over_websocket(self, server: str) -> dict[str, Any]:
        microphone = write_recording(self._folder / "microphone.wav", 1.0)
        return self._run(f"ws://{server}/v1/realtime", "WebSocket", server, "tool", "websocket", str(microphone))

    def _run(self, url: str, transport: str, server: str, what: str, *how: str) -> dict[str, Any]:
        program, key = str(INTEROP / "browser" / "run.mjs"), ephemeral_key(server)
        kind, path = self._installed.kind, self._installed.path
        told = run_client(self._node, program, kind, path, PAGE, url, key, *how)
        name = self._installed.named(told["version"])
        self._row(f"{SDK} in {name}, {transport}", package_version(SDK), what)
        assert told["errors"] == [] and not [line for line in told["console"] if line.startswith(("error", "thrown"))]
        return told
