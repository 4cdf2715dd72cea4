"""Runtimes in processes: the same interface, and a crash there is only an error here."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import host_runtimes
import numpy as np
import pytest
from host_runtimes import Caller, Isolated

from antiphon.engines import host_process
from antiphon.engines import worker as worker_module
from antiphon.engines.errors import (
    EngineCrashed,
    EngineError,
    EngineFailed,
    EngineRequestInvalid,
    EngineTimeout,
    StaleRequest,
)
from antiphon.engines.host import EngineHost, Ticket, Worker, current_ticket
from antiphon.engines.host_process import try_in_child
from antiphon.engines.net import forbid_network


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run on a fresh loop; no thread and no child may be left, not even as a zombie."""
    threads = set(threading.enumerate())
    asyncio.run(main())
    assert set(threading.enumerate()) <= threads
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@asynccontextmanager
async def isolated(*args: Any) -> AsyncIterator[Worker]:
    host = EngineHost()
    worker = await host.acquire("isolated", partial(Isolated, *args), name="the engine", isolation="process")
    try:
        yield worker
    finally:
        await host.release(worker)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # a thread or process changes it
            await asyncio.sleep(0.005)


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie whose parent has yet to look has ended too)."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    return True


def test_calls_and_streams_cross_with_arrays(tmp_path: Path) -> None:
    async def main() -> None:
        async with isolated(str(tmp_path)) as worker:
            assert await worker.call("pid") != os.getpid()
            samples = np.arange(200_000, dtype=np.float32)
            np.testing.assert_array_equal(await worker.call("add", samples, 1), samples + 1)
            assert [number async for number in worker.stream("count", 50)] == list(range(50))
            assert worker.stats.done == 3
        assert (tmp_path / "closed").exists()

    run(main)


def test_errors_come_back_as_themselves_with_the_trace_from_there() -> None:
    async def main() -> None:
        async with isolated() as worker:
            with pytest.raises(EngineRequestInvalid) as caught:
                await worker.call("raises", "ours")
            assert (caught.value.stage, caught.value.hint) == ("tts", "shorten it")
            assert "host_runtimes.py" in caught.value.__notes__[0]
            with pytest.raises(ConnectionResetError, match="of some other"):
                await worker.call("raises", "connection")
            with pytest.raises(EngineFailed, match="SystemExit: 3"):
                await worker.call("raises", "exit")
            with pytest.raises(EngineFailed, match=r"Unpicklable: .*holds a lock"):
                await worker.call("raises", "unpicklable")
            with pytest.raises(EngineFailed, match="cannot leave the engine's process"):
                await worker.call("unpicklable")
            with pytest.raises(EngineFailed, match="cannot be sent"):
                await worker.call("add", threading.Lock(), 1)
            with pytest.raises(AttributeError):
                await worker.call("no_such_method")
            assert await worker.call("add", 1, 1) == 2

    run(main)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT"])
def test_a_crash_fails_the_running_and_the_waiting_and_the_next_call_works(name: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with isolated(str(tmp_path)) as worker:
            first_pid = await worker.call("pid")
            tasks = [asyncio.create_task(worker.call("sleep", 30)), asyncio.create_task(worker.call("add", 1, 1))]
            await until(lambda: worker.queued == 1 and worker.stats.running)
            os.kill(first_pid, signal.Signals[name])
            for error in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(error, EngineCrashed) and error.retryable
                assert error.signal_name == name and name in str(error)
            assert await worker.call("add", 1, 1) == 2
            assert await worker.call("pid") != first_pid
        assert (tmp_path / "loads").read_text() == "xx"

    run(main)


def test_a_native_crash_is_told_with_what_was_written_and_a_remedy() -> None:
    async def main() -> None:
        async with isolated() as worker:
            with pytest.raises(EngineCrashed) as caught:
                await worker.call("segfault")
            text = str(caught.value)
            assert "'the engine' crashed (segfault): its process died of SIGSEGV (segmentation fault)" in text
            assert "about to read address zero" in text
            assert "Fatal Python error" in text and "host_runtimes.py" in text
            assert "models verify" in caught.value.hint

    run(main)


def test_an_exit_code_is_told_too() -> None:
    async def main() -> None:
        async with isolated() as worker:
            with pytest.raises(EngineCrashed, match="exit code 7") as caught:
                await worker.call("exit", 7)
            assert caught.value.signal_name == ""

    run(main)


def test_a_crash_in_the_middle_of_a_stream() -> None:
    async def main() -> None:
        async with isolated() as worker:
            pid = await worker.call("pid")
            got = []
            with pytest.raises(EngineCrashed):
                async for number in worker.stream("count", 1000, 0.01):
                    got.append(number)
                    if number == 2:
                        os.kill(pid, signal.SIGKILL)
            assert got[:3] == [0, 1, 2]
            assert [number async for number in worker.stream("count", 3)] == [0, 1, 2]

    run(main)


def test_a_child_that_died_while_idle_costs_no_request() -> None:
    async def main() -> None:
        async with isolated() as worker:
            pid = await worker.call("pid")
            os.kill(pid, signal.SIGKILL)
            await until(lambda: gone(pid))
            assert await worker.call("add", 1, 1) == 2

    run(main)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_child_that_dies_before_it_reads_a_request_costs_no_request(streamed: bool) -> None:
    """Stopped first, so that it is alive when it is asked and has not read what it is asked when it is killed."""

    async def main() -> None:
        async with isolated() as worker:
            pid = await worker.call("pid")
            os.kill(pid, signal.SIGSTOP)
            assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])  # noqa: ASYNC222  # stopped in no time
            if streamed:
                asking = asyncio.create_task(numbers(worker))
            else:
                asking = asyncio.create_task(worker.call("add", 1, 1))
            await until(lambda: worker.stats.running)
            await asyncio.sleep(0.1)  # until it is surely on its way; sooner, and the child is found dead beforehand
            os.kill(pid, signal.SIGKILL)
            assert await asking == ([0, 1, 2] if streamed else 2)
            assert await worker.call("pid") != pid

    async def numbers(worker: Any) -> list[int]:
        return [number async for number in worker.stream("count", 3)]

    run(main)


def test_crash_after_crash_is_started_again_only_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with isolated() as worker:
            for _ in range(2):
                with pytest.raises(EngineCrashed, match="SIGKILL"):
                    await worker.call("die_by", int(signal.SIGKILL))
            with pytest.raises(EngineCrashed, match=r"crashed 2 times; it is not started again for \d"):
                await worker.call("add", 1, 1)
            monkeypatch.setattr(host_process, "time", _Later())
            assert await worker.call("add", 1, 1) == 2

    class _Later:
        """The clock, an hour on."""

        @staticmethod
        def monotonic() -> float:
            return time.monotonic() + 3600

    run(main)


def test_a_crash_while_loading_is_an_error_of_acquire(tmp_path: Path) -> None:
    async def main() -> None:
        host = EngineHost()
        with pytest.raises(EngineCrashed, match=r"crashed \(loading\): .*SIGSEGV"):
            await host.acquire("key", partial(Isolated, str(tmp_path), True), isolation="process")
        with pytest.raises(EngineRequestInvalid, match="no such file"):
            await host.acquire("key", host_runtimes.fails_to_load, isolation="process")
        with pytest.raises(EngineFailed, match="factory cannot be sent"):
            await host.acquire("key", lambda: None, isolation="process")

    run(main)


def test_closing_a_stream_stops_the_child_between_two_items(tmp_path: Path) -> None:
    async def main() -> None:
        async with isolated(str(tmp_path)) as worker:
            async with aclosing(cast("Any", worker.stream("count", 100_000, 0.005))) as numbers:
                assert await anext(numbers) == 0
            assert await worker.call("add", 1, 1) == 2
            assert (tmp_path / "generator closed").exists()

    run(main)


def test_a_long_call_hears_that_nobody_waits_any_more(tmp_path: Path) -> None:
    async def main() -> None:
        async with isolated(str(tmp_path)) as worker:
            current_ticket.set(Ticket(timeout_s=0.8))  # it has begun by then
            with pytest.raises(EngineTimeout):
                await worker.call("until_abandoned")
            current_ticket.set(Ticket())
            assert await worker.call("add", 1, 1) == 2
            assert (tmp_path / "abandoned").exists()

    run(main)


def test_stale_work_is_dropped_here_and_never_sent() -> None:
    async def main() -> None:
        async with isolated() as worker:
            running = asyncio.create_task(worker.call("sleep", 0.3))
            await until(lambda: worker.stats.running)
            stale = asyncio.create_task(worker.call("exit", 1))
            await until(lambda: worker.queued == 1)
            assert worker.drop("", 0, 1) == 1
            with pytest.raises(StaleRequest):
                await stale
            assert await running == "slept"

    run(main)


def test_stopping_kills_a_child_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "STOP_S", 0.1)

    async def main() -> None:
        host = EngineHost()
        worker = await host.acquire("key", Isolated, isolation="process")
        pid = await worker.call("pid")
        task = asyncio.create_task(worker.call("sleep", 60))
        await until(lambda: worker.stats.running)
        await host.close()
        with pytest.raises(EngineCrashed, match="SIGKILL"):
            await task
        assert gone(pid)

    run(main)


def test_what_native_code_writes_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with isolated() as worker:
            await worker.call("says", "hello")

    with caplog.at_level(logging.INFO, logger=host_process.__name__):
        run(main)
    lines = [getattr(record, "line", None) for record in caplog.records]
    assert "stdout hello" in lines and "stderr hello" in lines


def test_the_child_dies_with_its_parent() -> None:
    script = f"""
import asyncio, os, sys
sys.path[:] = {sys.path!r}
from functools import partial
import host_runtimes
from antiphon.engines.host import EngineHost

async def main():
    worker = await EngineHost().acquire("key", host_runtimes.Isolated, isolation="process")
    print(await worker.call("pid"), flush=True)
    await worker.call("sleep", 60)

asyncio.run(main())
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        child = int(parent.stdout.readline())
    assert not gone(child)
    parent.kill()
    parent.wait()
    limit_s = time.monotonic() + 20
    while not gone(child) and time.monotonic() < limit_s:
        time.sleep(0.01)
    assert gone(child)


# ------------------------------------------------------------------------------------------ trying out


@pytest.mark.parametrize("function", ["double", "double_later"])
def test_trying_a_function_that_works(function: str) -> None:
    trial = try_in_child(f"host_runtimes:{function}", 21)
    assert (trial.ok, trial.value, trial.error, trial.explanation) == (True, 42, None, "")


def test_trying_a_function_that_crashes_is_explained() -> None:
    trial = try_in_child("host_runtimes:crash", int(signal.SIGILL))
    assert not trial.ok and isinstance(trial.error, EngineCrashed)
    assert trial.signal_name == "SIGILL"
    assert "llama.cpp was built for another processor" in trial.explanation or "AMX" in trial.explanation
    assert "loading llama_cpp" in trial.output


def test_trying_a_function_that_fails_or_does_not_exist_or_hangs() -> None:
    broken = try_in_child("host_runtimes:broken")
    assert isinstance(broken.error, ValueError) and broken.explanation == ""
    missing = try_in_child("host_runtimes:nothing")
    assert isinstance(missing.error, ImportError) and "nothing" in str(missing.error)
    hanging = try_in_child("host_runtimes:hang", timeout_s=1.0)
    assert isinstance(hanging.error, EngineTimeout) and hanging.seconds < 30
    assert isinstance(hanging.error, EngineError)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


# ------------------------------------------------------------------------------------------ offline

REFUSED = ["OfflineForbidden", "0.0.0.0", "0"]


def test_offline_holds_in_the_child_from_before_it_loads() -> None:
    async def main() -> None:
        host = EngineHost()
        with forbid_network():
            worker = await host.acquire("caller", Caller, isolation="process")
        # The rule of that moment holds for as long as the child lives, and its connection to us works.
        assert await worker.call("at_load") == REFUSED
        assert await worker.call("call_out") == REFUSED
        with pytest.raises(EngineCrashed):
            await worker.call("crash")
        assert await worker.call("call_out") == REFUSED  # in the next child
        await host.release(worker)

    run(main)


def test_a_child_is_shared_only_by_those_of_one_network_rule() -> None:
    async def main() -> None:
        host = EngineHost()
        free = await host.acquire("caller", Caller, isolation="process")
        with forbid_network():
            bound = await host.acquire("caller", Caller, isolation="process")
        assert bound is not free
        assert (await free.call("forbidden"), await bound.call("forbidden")) == (False, True)
        await host.close()

    run(main)


def test_a_trial_is_offline_where_it_is_asked_for_or_holds_here() -> None:
    assert try_in_child("host_runtimes:call_out", offline=True).value == REFUSED
    assert try_in_child("host_runtimes:forbidden_here").value is False
    with forbid_network():
        assert try_in_child("host_runtimes:forbidden_here").value is True
