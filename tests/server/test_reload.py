"""Another configuration while the server runs: taken, refused, and what becomes of the one before."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.error
import urllib.request
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from network_clock import run_networked
from operated import call, figures, operating
from scripted_engines import write_config
from served import config, serving

from antiphon.engines.errors import EngineFailed
from antiphon.engines.testing import Reply, ScriptedTTS, run_virtual
from antiphon.pipeline.config import Config, load_config
from antiphon.pipeline.errors import ConfigError
from antiphon.server.reloading import CannotReload
from antiphon.server.service import Service


def answering(text: str, **server: Any) -> Config:
    return config(server, llm=[Reply.of(text)])


class Source:
    """What the configuration file says."""

    def __init__(self, *configs: Config | Exception) -> None:
        self._configs = list(configs)

    def __call__(self) -> Config:
        found = self._configs.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


def test_running_conversations_keep_their_engines_and_new_ones_get_the_new() -> None:
    async def main() -> None:
        before, after = answering("The old one."), answering("The new one.")
        service = Service(before, source=Source(after))
        async with operating(before, service):
            old_host = weakref.ref(service.assembly.host)
            old = await call(service)
            await old.ask()
            done = await service.reloading.reload()
            assert done.changed == ("vad", "turn", "stt", "llm", "tts") and done.needs_restart == ()
            new = await call(service)
            await asyncio.gather(old.ask(), new.ask())
            assert old.texts("agent") == ["The old one."] * 2
            assert new.texts("agent") == ["The new one."]
            assert service.reloading.leaving == 1
            voice: ScriptedTTS = before.tts[0].options.engine  # type: ignore[attr-defined]
            assert voice.entered
            await old.hang_up()
            await until(lambda: not service.reloading.leaving)
            assert not voice.entered
            await new.ask()
            assert new.texts("agent") == ["The new one."] * 2
            await new.hang_up()
            await asyncio.sleep(2.0)
            assert old_host() is None, "the old engines are still held"

    run_virtual(main())


def test_a_request_under_way_keeps_its_engines_too() -> None:
    async def main() -> None:
        service = Service(answering("Old."), source=Source(answering("New.")))
        async with operating(service.config, service):
            with service.using():
                engines = service.engines
                await service.reloading.reload()
                await asyncio.sleep(5)
                assert service.reloading.leaving == 1 and service.engines is not engines
            with service.using():  # one that began later holds up nothing
                await until(lambda: not service.reloading.leaving)

    run_virtual(main())


@pytest.mark.parametrize(
    "bad",
    [
        ConfigError("no such key", key="server.colour"),
        config(tts=ScriptedTTS(load_errors=[EngineFailed("the voice is broken")])),
        config({"capacity_from": "missing.json"}),
    ],
)
def test_what_cannot_be_used_is_refused_and_all_stays(bad: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> dict[str, float]:
        service = Service(answering("The old one."), source=Source(bad, answering("The new one.")))
        async with operating(service.config, service):
            caller = await call(service)
            with pytest.raises(Exception, match=r"no such key|voice is broken|missing\.json"):
                await service.reloading.reload()
            await caller.ask()
            assert caller.texts("agent") == ["The old one."]
            await caller.hang_up()
            await service.reloading.reload()
            caller = await call(service)
            await caller.ask()
            assert caller.texts("agent") == ["The new one."]
            await caller.hang_up()
            return figures(service)

    seen = run_virtual(main())
    assert seen["antiphon_reloads_total{outcome=refused}"] == 1
    assert seen["antiphon_reloads_total{outcome=taken}"] == 1
    assert "the configuration was not reloaded: the old one stays" in caplog.messages


def test_surprises_and_checks_refuse_too() -> None:
    async def main() -> None:
        service = Service(answering("Yes."), source=Source(KeyError("what"), answering("No.")))
        async with operating(service.config, service):
            with pytest.raises(CannotReload, match="KeyError; the server's log says more"):
                await service.reloading.reload()

            def never(_: Config) -> None:
                raise ConfigError("not this one")

            service.reloading.checks.append(never)
            with pytest.raises(ConfigError, match="not this one"):
                await service.reloading.reload()
            service.draining = True
            with pytest.raises(CannotReload, match="shutting down"):
                await service.reloading.reload()

    run_virtual(main())


def test_what_takes_effect_at_the_next_start_is_told_and_limits_at_once() -> None:
    async def main() -> None:
        after = answering("Yes.", port=0, max_sessions=1, max_header_kb=32, log_level="error")
        service = Service(answering("Yes.", port=0), source=Source(after))
        async with operating(service.config, service):
            done = await service.reloading.reload()
            assert "server" in done.changed and done.needs_restart == ("server.max_header_kb",)
            assert service.settings.max_sessions == 1 and service.admission.carries == 1

    run_virtual(main())


def test_a_shut_down_waits_for_no_conversation_of_before() -> None:
    async def main() -> None:
        before = answering("Old.")
        service = Service(before, source=Source(answering("New.")))
        async with operating(before, service):
            caller = await call(service)
            await service.reloading.reload()
        voice: ScriptedTTS = before.tts[0].options.engine  # type: ignore[attr-defined]
        assert not voice.entered
        await caller.hang_up()

    run_virtual(main())


# ------------------------------------------------------------------------------- over the network


def asked(url: str, method: str = "POST") -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


async def until(there: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not there():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def told(address: str) -> str:
    """What `/readyz` says of the configuration."""

    def read() -> str:
        with urllib.request.urlopen(f"http://{address}/readyz", timeout=60) as answer:
            return str(json.load(answer)["last_configuration"])

    return await asyncio.to_thread(read)


async def last(service: Service) -> float:
    await service.figures()
    return figures(service)["antiphon_config_last_reload_successful"]


def test_a_storm_of_signals_is_two_reloads_at_a_time_and_the_last_word_counts() -> None:
    read: list[int] = []

    def source() -> Config:
        read.append(len(read))
        return answering("Yes.", max_sessions=10 + len(read))

    async def main() -> None:
        service = Service(answering("Yes."), source=source)
        async with operating(service.config, service):
            for _ in range(200):
                service.reloading._on_signal()
            await until(lambda: not service.reloading._signalled)
            assert read == [0, 1] and service.settings.max_sessions == 12
            service.reloading._on_signal()
            await until(lambda: not service.reloading._signalled)
            assert read == [0, 1, 2]

    run_virtual(main())


def test_what_a_signal_did_is_on_record(tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"

    async def main() -> None:
        given = answering("Yes.", audit_log=audit)
        service = Service(given, source=Source(ConfigError("no"), answering("No.", audit_log=audit)))
        async with operating(given, service):
            for _ in range(2):
                service.reloading._on_signal()
                await until(lambda: not service.reloading._signalled)
            await asyncio.to_thread(service.access.audit.close)

    run_virtual(main())
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [(one["event"], one["by"]) for one in lines] == [("config_refused", "SIGHUP"), ("config_reloaded", "SIGHUP")]
    assert lines[1]["changed"] == "vad, turn, stt, llm, tts"


def test_a_signal_while_the_server_ends_is_told_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        service = Service(answering("The old one."), source=Source())
        async with operating(service.config, service):
            caller = await call(service)
            await caller.speak(1.0)
            draining = asyncio.create_task(service.drain())
            await asyncio.sleep(0)
            service.reloading._on_signal()
            await draining
            assert not service.reloading._signalled and not service.reloading.refused

    run_virtual(main())
    (line,) = [one for one in caplog.records if one.message.startswith("the configuration was not reloaded")]
    assert vars(line)["reason"] == "the server is loading, or shutting down"


def test_what_the_process_did_at_the_signal_before_is_done_again_after() -> None:
    seen: list[int] = []

    async def main() -> None:
        async with Service(answering("Yes."), source=Source()):
            assert signal.getsignal(signal.SIGHUP) is not listening

    def listening(number: int, _: Any) -> None:
        seen.append(number)

    before = signal.signal(signal.SIGHUP, listening)
    try:
        asyncio.run(main())
        signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert seen == [signal.SIGHUP]


def test_the_call_and_the_signal(tmp_path: Path) -> None:
    async def main() -> None:
        path = write_config(tmp_path)
        written = path.read_text()
        path.write_text(written + f"\nserver: {{port: 0, audit_log: {audit}}}\n")

        def read() -> Config:
            return load_config(str(path))

        given = read()
        service = Service(given, source=read)
        async with serving(given, service) as (address, _):
            path.write_text(written + f"\nserver: {{port: 0, audit_log: {audit}, max_sessions: 3}}\n")
            status, body = await asyncio.to_thread(asked, f"http://{address}/v1/admin/reload")
            assert (status, body["changed"], body["needs_restart"]) == (200, ["server"], [])
            path.write_text(written + "\nserver: {port: 0, max_sessions: many}\n")
            status, body = await asyncio.to_thread(asked, f"http://{address}/v1/admin/reload")
            assert (status, body["error"]["code"]) == (422, "invalid_config")
            assert "max_sessions" in body["error"]["message"]
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: figures(service)["antiphon_reloads_total{outcome=refused}"] == 2)
            assert service.settings.max_sessions == 3
            assert (await told(address), await last(service)) == ("refused", 0)
            path.write_text(written + f"\nserver: {{port: 0, audit_log: {audit}, max_sessions: 4}}\n")
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: service.settings.max_sessions == 4)
            assert (await told(address), await last(service)) == ("taken", 1)

    audit = tmp_path / "audit.jsonl"
    run_networked(main())
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    found = [(one["event"], one.get("by", one.get("address"))) for one in lines if one["event"].startswith("config_")]
    assert found == [
        ("config_reloaded", "127.0.0.1"), ("config_refused", "127.0.0.1"),
        ("config_refused", "SIGHUP"), ("config_reloaded", "SIGHUP"),
    ]  # fmt: skip


def test_a_server_without_a_file_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(config({"audit_log": audit})) as (address, _):
            status, body = await asyncio.to_thread(asked, f"http://{address}/v1/admin/reload")
            assert (status, body["error"]["code"]) == (409, "cannot_reload")

    audit = tmp_path / "audit.jsonl"
    run_networked(main())
    assert '"config_refused"' in audit.read_text()
