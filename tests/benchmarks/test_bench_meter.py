"""Processor time and memory: of this process, of children, and of nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from antiphon.benchmarks.meter import Meter
from antiphon.engines.errors import EngineUnavailable
from antiphon.engines.testing import run_virtual

WORK = "import time\nwhile time.process_time() < {0}: pass\nprint('done', flush=True)\ninput()"
HOLD = "data = bytearray(80_000_000)\nprint('done', flush=True)\ninput()"


@contextmanager
def child(code: str) -> Iterator[int]:
    """A process that has done its work, and still lives."""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        try:
            yield process.pid
        finally:
            process.communicate("\n")


def test_work_of_this_process_is_counted() -> None:
    meter = Meter()
    before_s, began_s = meter.cpu_s(), time.process_time()
    while time.process_time() < began_s + 0.1:
        pass
    assert meter.cpu_s() - before_s >= 0.08


def test_work_of_a_child_is_counted_and_stays_counted_after_its_end() -> None:
    meter = Meter()
    before_s = meter.cpu_s()
    with child(WORK.format(0.3)):
        during_s = meter.cpu_s()
    assert during_s - before_s >= 0.28
    assert meter.cpu_s() >= during_s


def test_somebody_elses_child_is_left_out() -> None:
    with child(WORK.format(1.0)) as pid:
        mine, theirs, all_of_us = Meter(without=[pid]), Meter([pid]), Meter()
        assert theirs.cpu_s() >= 0.95
        assert all_of_us.cpu_s() - mine.cpu_s() >= 0.9
        for meter in (mine, all_of_us):
            meter.look()
        assert mine.peak_rss_mb < all_of_us.peak_rss_mb


def test_the_peak_of_memory_is_followed() -> None:
    async def run() -> Meter:
        async with Meter() as meter:
            low_mb = meter.peak_rss_mb
            with child(HOLD):
                meter.cpu_s()  # looks for children
                meter.look()
            assert meter.peak_rss_mb > low_mb + 75
        return meter

    assert run_virtual(run()).peak_rss_mb > 80


def test_a_process_that_is_gone_costs_nothing_more() -> None:
    with child(WORK.format(0.0)) as pid:
        pass
    meter = Meter([pid])
    meter.look()
    assert (meter.cpu_s(), meter.peak_rss_mb) == (0.0, 0.0)
    assert Meter([os.getpid()]).cpu_s() > 0


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(EngineUnavailable, match="psutil") as caught:
        Meter()
    assert "antiphon[bench]" in caught.value.hint
