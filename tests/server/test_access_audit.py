"""The audit log: what is in it, that it costs the server nothing, and that it survives being rotated."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyed import Keys, bearer, keyed
from served import config
from talk import ask
from websockets.asyncio.client import connect

from antiphon.engines.testing import Heard, Reply
from antiphon.pipeline.errors import ConfigError
from antiphon.server.access import audit as audit_module
from antiphon.server.access.audit import Audit
from antiphon.server.access.key_file import revoke_key
from antiphon.server.service import Service


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_who_did_what(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    keys = Keys(tmp_path / "keys.json")
    desk = keys.make("desk", "realtime", "chat")

    async def main() -> str:
        settings = {"audit_log": log, "requests_per_minute": 6}
        words = {"stt": [Heard("my secret question")], "llm": [Reply.of("A secret answer.")]}
        async with keyed(keys, settings, **words) as server:
            key = keys.find(server.service, "desk")
            await server.get("/healthz")
            await server.get("/v1/models/none", desk)
            await server.get("/v1/models")
            await server.client.post("/v1/audio/speech", headers=bearer(desk), json={})
            async with connect(f"ws://{server.address}/v1/stream", additional_headers=bearer(desk)) as client:
                await ask(client)
            for _ in range(6):
                await server.get("/v1/models", desk)
            revoke_key(keys.path, "desk", now_s=time.time())
            await server.service.access.refresh()
            await server.get("/v1/models", desk)
            return key.id

    key_id = asyncio.run(main())
    lines = lines_of(log)
    assert all(set(line) >= {"time", "event"} and line["time"].endswith("Z") for line in lines)
    requests = [line for line in lines if line["event"] == "request"]
    assert [(one.get("key"), one["method"], one["scope"], one["status"]) for one in requests[:4]] == [
        (key_id, "GET", "any", 404),
        (None, "GET", "any", 401),
        (key_id, "POST", "audio", 403),
        (key_id, "WEBSOCKET", "realtime", 101),
    ]
    assert all(one["address"] == "127.0.0.1" and one["request"].startswith("req_") for one in requests)
    assert requests[-1]["key"] == key_id, "who uses a revoked key is on record"
    *flood, last = [one["status"] for one in requests[4:]]
    assert flood == sorted(flood) and set(flood) == {200, 429} and last == 401
    begun, ended = (one for one in lines if one["event"].startswith("session_"))
    assert begun["key"] == ended["key"] == key_id and begun["session"] == ended["session"]
    assert begun["protocol"] == ended["protocol"] == "stream" and ended["seconds"] > 0
    assert begun["request"] == requests[3]["request"]
    assert [one["event"] for one in lines if one["event"] not in ("request", "session_begun", "session_ended")] == [
        "server_started", "key_revoked", "server_stopped",
    ]  # fmt: skip
    text = log.read_text()
    assert "secret" not in text and desk not in text, "neither what was said nor keys"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_without_a_file_the_log_has_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "antiphon.audit")
    audit = Audit(None, lambda: 0.0)
    audit.write("key_created", key="abc", nothing=None, empty="")
    audit.close()
    assert [(one.name, one.message) for one in caplog.records] == [
        ("antiphon.audit", '{"time": "1970-01-01T00:00:00.000Z", "event": "key_created", "key": "abc"}')
    ]


@given(st.dictionaries(st.sampled_from(["route", "name", "by"]), st.text(max_size=400) | st.integers() | st.booleans()))
def test_whatever_a_client_chose_is_one_line_of_plain_text(fields: dict[str, Any]) -> None:
    line = audit_module._line(0.0, "request", fields)
    assert "\n" not in line and line.isascii() and line.isprintable()
    read = json.loads(line)
    for name, value in fields.items():
        assert read.get(name, "") == (value[:200] if isinstance(value, str) else value)


def test_a_file_that_is_renamed_or_removed_is_opened_anew(tmp_path: Path) -> None:
    log, old = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    audit = Audit(log)

    def written(path: Path, count: int) -> bool:
        until = time.monotonic() + 5
        while time.monotonic() < until:
            if path.exists() and len(lines_of(path)) == count:
                return True
            time.sleep(0.005)
        return False

    audit.write("one")
    assert written(log, 1)
    os.rename(log, old)
    audit.write("two")
    assert written(log, 1)
    log.unlink()
    audit.write("three")
    assert written(log, 1)
    audit.close()
    assert [lines_of(path)[0]["event"] for path in (old, log)] == ["one", "three"]
    audit.write("four")  # after the end it begins again
    audit.close()
    assert [one["event"] for one in lines_of(log)] == ["three", "four"]


def test_a_disk_that_is_slow_or_full_costs_lines_which_are_counted_and_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "audit.jsonl"
    stuck, full = threading.Event(), [True]
    write = os.write

    def slow(file: int, data: bytes) -> int:
        stuck.wait(10)
        if full[0]:
            raise OSError(28, "No space left on device")
        return write(file, data)

    monkeypatch.setattr(audit_module, "MAX_WAITING", 5)
    audit = Audit(log)
    monkeypatch.setattr(audit_module.os, "write", slow)
    audit.write("first")
    until = time.monotonic() + 5
    while not audit._waiting.empty() and time.monotonic() < until:
        time.sleep(0.001)
    for _ in range(8):
        audit.write("more")  # five wait, three are lost; none of these calls waits
    stuck.set()
    while not audit._waiting.empty() and time.monotonic() < until:
        time.sleep(0.001)
    full[0] = False
    audit.write("last")
    audit.close()
    assert log.exists()
    lines = lines_of(log)
    kept = [one["event"] for one in lines]
    lost = sum(one.get("count", 0) for one in lines)
    assert kept.count("last") == 1 and "lines_lost" in kept
    assert lost + sum(one != "lines_lost" for one in kept) == 10
    assert [one.message for one in caplog.records] == ["the audit log cannot be written"]


def test_a_file_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the audit log cannot be written") as caught:
        Service(config({"audit_log": tmp_path}))
    assert caught.value.key == "server.audit_log"


def test_approvals_and_renewed_keys_are_on_record_under_who_did_it(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    keys = Keys(tmp_path / "keys.json")
    keys.make("desk")

    async def main() -> None:
        async with keyed(keys, {"audit_log": log}) as server:
            keys.make("second", "chat")
            await server.service.access.refresh()

    asyncio.run(main())
    (created,) = [one for one in lines_of(log) if one["event"] == "key_created"]
    assert created["name"] == "second" and created["scopes"] == ["chat"]
