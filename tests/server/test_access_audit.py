"""The audit log: what is in it, that it costs the server nothing, and that it survives being rotated."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyed import Keys, bearer, error_of, keyed
from operated import figures, operating
from served import config
from talk import ask
from websockets.asyncio.client import connect

from antiphon.engines.testing import Heard, Reply, run_virtual
from antiphon.pipeline.errors import ConfigError
from antiphon.server.access import audit as audit_module
from antiphon.server.access.audit import Audit
from antiphon.server.access.key_file import keys_path, revoke_key
from antiphon.server.access.keyring import Keyring
from antiphon.server.access.protection import audit_target
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


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_with_keys_and_no_file_it_is_on_standard_error_at_any_level_of_the_log(
    log_format: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    keys = Keys(tmp_path / "keys.json")
    desk = keys.make("desk")

    async def main() -> None:
        async with keyed(keys, {"log_format": log_format, "log_level": "error"}) as server:
            assert server.service.access.protection().split("; ")[2] == "audit log: stderr"
            await server.get("/v1/models", desk)
            await server.get("/v1/models")

    asyncio.run(main())
    written = capfd.readouterr().err
    lines = [json.loads(line) for line in written.splitlines()]
    field = "event" if log_format == "text" else "message"
    found = [(one[field], one.get("logger"), one.get("status")) for one in lines]
    name = None if log_format == "text" else "antiphon.audit"
    events = [("server_started", None), ("request", 200), ("request", 401), ("server_stopped", None)]
    assert found == [(event, name, status) for event, status in events]
    assert desk not in written


def test_it_is_off_where_nobody_else_can_come_in_and_where_that_is_asked_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    keys = Keys(tmp_path / "keys.json")

    async def main() -> None:
        async with keyed(keys) as server:  # there are no keys yet
            assert server.service.access.audit.target == "off"
            await server.get("/v1/models")
            keys.make("desk", "chat")
            await server.service.access.refresh()
            assert server.service.access.audit.target == "stderr", "others can come in now"
            await server.get("/v1/models")
        async with keyed(keys, {"audit_log": "off"}) as server:
            await server.get("/v1/models", keys.tokens["desk"])

    asyncio.run(main())
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [(one["event"], one.get("status")) for one in lines] == [
        ("key_created", None), ("request", 401), ("server_stopped", None),
    ]  # fmt: skip


def test_what_is_required_is_written() -> None:
    with pytest.raises(ValueError, match="audit_required needs an audit log, and audit_log is off"):
        config({"audit_required": True, "audit_log": "off"})
    required = config({"audit_required": True})
    assert Service(required).access.audit.target == "stderr", "though nobody else can come in"

    async def main() -> None:
        service = Service(config({"audit_log": "off"}), source=lambda: required)
        async with operating(service.config, service):
            await service.reloading.reload()
            assert service.access.audit.target == "stderr", "what it says of files takes a restart, this does not"

    run_virtual(main())


OPEN = {"port": 0, "host": "0.0.0.0", "allowed_addresses": ["10.0.0.0/8"]}


@pytest.mark.parametrize(
    ("server", "target"),
    [
        ({}, "off"),
        ({"wyoming": {"port": 0}}, "off"),
        ({"wyoming": OPEN}, "stderr"),
        ({"audiosocket": {**OPEN, "host": "::"}}, "stderr"),
        ({"wyoming": {**OPEN, "port": None}}, "off"),
        ({"wyoming": OPEN, "audit_log": "off"}, "off"),
        ({"audit_required": True}, "stderr"),
    ],
)
def test_a_port_without_keys_that_others_reach_is_audited_too(server: dict[str, Any], target: str) -> None:
    settings = config(server).server
    assert audit_target(settings, Keyring(keys_path(settings.keys_file), {})) == target


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


class Disk:
    """What `os.write` does, as a disk that is slow, or takes so many bytes and then no more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._write = os.write
        self.free: float = float("inf")
        self.going = threading.Event()
        self.going.set()
        self.waiting = False
        monkeypatch.setattr(audit_module.os, "write", self.write)
        monkeypatch.setattr(audit_module, "RETRY_S", 0.01)

    def write(self, file: int, data: bytes) -> int:
        self.waiting = True
        self.going.wait(10)
        self.waiting = False
        if self.free <= 0:
            raise OSError(28, "No space left on device")
        count = self._write(file, bytes(data[: int(min(self.free, len(data)))]))
        self.free -= count
        return count


def eventually(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_a_slow_disk_costs_no_time_and_past_a_bound_lines_which_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "MAX_WAITING", 5)
    disk = Disk(monkeypatch)
    audit = Audit(tmp_path / "audit.jsonl")
    lost: list[int] = []
    audit.on_lost = lost.append
    disk.going.clear()
    audit.write("first")
    eventually(audit._waiting.empty)
    assert not audit.failing
    for _ in range(8):
        audit.write("more")  # five wait, three are lost; none of these calls waits
    assert audit.failing, "no error says so"
    disk.going.set()
    eventually(lambda: not audit.failing)
    audit.close()
    lines = lines_of(tmp_path / "audit.jsonl")
    assert sorted(one["event"] for one in lines) == ["first", "lines_lost", *["more"] * 5]
    assert sum(one.get("count", 0) for one in lines) == sum(lost) == 3


def test_standard_error_is_a_file_like_any_other(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit_module, "MAX_UNWRITTEN_BYTES", 200)
    disk = Disk(monkeypatch)
    audit = Audit("stderr")
    lost: list[int] = []
    audit.on_lost = lost.append
    disk.free = 30  # less than a line
    for _ in range(8):
        audit.write("request")
    eventually(lambda: audit.failing and audit._waiting.empty())
    disk.free = float("inf")
    eventually(lambda: not audit.failing)
    audit.close()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    kept = sum(one["event"] == "request" for one in lines)
    assert sum(one.get("count", 0) for one in lines) == sum(lost) == 8 - kept > 0


def test_while_standard_error_takes_nothing_others_can_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that writes waits in `os.write`; the lock of the log's handler is free meanwhile."""

    class Stderr(io.StringIO):
        def write(self, text: str) -> int:
            return os.write(2, text.encode())

    disk = Disk(monkeypatch)
    handler = logging.StreamHandler(Stderr())
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    audit = Audit("stderr")
    disk.going.clear()
    audit.write("request")
    eventually(lambda: disk.waiting)
    assert handler.lock is not None and handler.lock.acquire(blocking=False)
    handler.lock.release()
    disk.going.set()
    audit.close()


def test_a_standard_error_that_was_closed_at_the_start_is_nobody_elses_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Disk(monkeypatch)
    monkeypatch.setattr(sys, "__stderr__", None)
    audit = Audit("stderr")
    audit.write("request")
    eventually(lambda: audit.failing)
    audit.close()


def test_lines_wait_for_a_full_disk_and_none_is_torn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk(monkeypatch)
    audit = Audit(tmp_path / "audit.jsonl")
    disk.free = 30  # less than a line
    audit.write("first")
    eventually(lambda: audit.failing)
    audit.write("second")
    eventually(audit._waiting.empty)
    disk.free = float("inf")
    eventually(lambda: not audit.failing)  # by itself: nothing more is written
    audit.close()
    assert [one["event"] for one in lines_of(tmp_path / "audit.jsonl")] == ["first", "second"]
    assert [one.message for one in caplog.records] == [
        "the audit log cannot be written",
        "the audit log is written again",
    ]


def test_a_line_that_began_in_a_file_that_was_rotated_away_does_not_go_on_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    log = tmp_path / "audit.jsonl"
    audit = Audit(log)
    disk.free = 30
    audit.write("first")
    eventually(lambda: audit.failing)
    audit.write("second")
    eventually(audit._waiting.empty)
    log.rename(tmp_path / "audit.jsonl.1")
    disk.free = float("inf")
    eventually(lambda: not audit.failing)
    audit.close()
    assert [one["event"] for one in lines_of(log)] == ["second", "lines_lost"]


def test_memory_is_bounded_while_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "MAX_UNWRITTEN_BYTES", 1000)
    disk = Disk(monkeypatch)
    audit = Audit(tmp_path / "audit.jsonl")
    lost: list[int] = []
    audit.on_lost = lost.append
    disk.free = 0
    for number in range(100):
        audit.write("request", status=number)
    eventually(lambda: audit._waiting.empty() and audit.failing)
    assert len(audit._rest) < 1000
    disk.free = float("inf")
    eventually(lambda: not audit.failing)
    audit.close()
    lines = lines_of(tmp_path / "audit.jsonl")
    kept = sum(one["event"] == "request" for one in lines)
    assert sum(one.get("count", 0) for one in lines) == sum(lost) == 100 - kept > 80


def test_where_it_is_required_nobody_new_is_let_in_while_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys(tmp_path / "keys.json")
    desk = keys.make("desk")
    disk = Disk(monkeypatch)

    async def main() -> None:
        async with keyed(keys, {"audit_log": tmp_path / "audit.jsonl", "audit_required": True}) as server:
            access = server.service.access
            async with connect(f"ws://{server.address}/v1/stream", additional_headers=bearer(desk)) as client:
                disk.free = 0
                access.audit.write("something")
                await asyncio.to_thread(eventually, lambda: access.audit.failing)
                assert error_of(await server.get("/v1/models", desk)) == (503, "audit")
                assert (await server.refused("/v1/stream", desk))[1]["code"] == "audit"
                assert error_of(await server.get("/readyz")) == (503, "audit")
                assert (await server.get("/healthz")).status_code == 200
                page = (await server.get("/metrics", desk)).text
                assert "antiphon_audit_in_order 0.0" in page
                assert figures(server.service)["antiphon_requests_refused_total{reason=audit}"] == 2
                await ask(client)  # who is in goes on
                disk.free = float("inf")
                await asyncio.to_thread(eventually, lambda: not access.audit.failing)
                assert (await server.get("/v1/models", desk)).status_code == 200

    asyncio.run(main())
    statuses = [one["status"] for one in lines_of(tmp_path / "audit.jsonl") if one["event"] == "request"]
    assert statuses == [101, 503, 503, 200], "what was refused is on record too"


def test_an_existing_file_keeps_its_groups_right_to_read_and_no_other(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text("")
    log.chmod(0o666)
    Audit(log).close()
    assert stat.S_IMODE(log.stat().st_mode) == 0o640


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
