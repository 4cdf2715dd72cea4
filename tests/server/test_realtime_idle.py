"""Realtime sessions on scripted engines and a virtual clock: users who say nothing, where that goes wrong."""

from __future__ import annotations

from typing import Any

import pytest
from realtime_client import RealtimeClient, talk_to

from antiphon.pipeline.errors import SessionClosed
from antiphon.pipeline.requests import Requests


def test_where_the_assistant_cannot_speak_again_nothing_is_told_and_the_next_time_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    respond, refused = Requests.respond, []

    def once_refused(self: Requests, *args: Any, **fields: Any) -> int:
        if not refused:
            refused.append(True)
            raise SessionClosed("the session does not run")
        return respond(self, *args, **fields)

    monkeypatch.setattr(Requests, "respond", once_refused)

    async def talk(client: RealtimeClient) -> None:
        client.detect({"type": "server_vad", "idle_timeout_ms": 5000})
        await client.speak(1.0)
        await client.be_silent(12.0)
        assert refused and len(client.of("input_audio_buffer.committed")) == 1
        assert not client.of("input_audio_buffer.timeout_triggered")
        await client.speak(1.0)
        await client.be_silent(8.0)

    client = talk_to(talk)
    assert len(client.of("input_audio_buffer.timeout_triggered")) == 1
    assert client.statuses == ["completed"] * 3
