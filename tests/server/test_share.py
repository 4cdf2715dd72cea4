"""How much of the loop's time one client gets."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyed import keyed
from websockets.asyncio.client import connect

from antiphon.server.share import BURST_S, Share


@given(st.floats(0.01, 1), st.lists(st.tuples(st.floats(0, 0.5), st.floats(0, 0.2)), max_size=100))
def test_who_keeps_to_the_waits_gets_a_burst_and_the_share_and_no_more(
    share: float, taken: list[tuple[float, float]]
) -> None:
    bucket, now_s, total_s, largest_s = Share(share, 0.0), 0.0, 0.0, 0.0
    for pause_s, cost_s in taken:
        now_s += pause_s + bucket.wait_s(now_s + pause_s)
        assert bucket.wait_s(now_s) <= 1e-6 / share
        bucket.take(cost_s, now_s)
        total_s, largest_s = total_s + cost_s, max(largest_s, cost_s)
    assert total_s <= BURST_S + largest_s + share * now_s + 1e-6


def test_speech_as_it_is_spoken_never_waits_and_an_hour_of_it_leaves_nothing_owing() -> None:
    bucket, frame_s = Share(0.05, 0.0), 0.0003  # three times what 20 ms of PCM16 in base64 cost
    for frame in range(50 * 3600):
        now_s = frame * 0.02
        assert bucket.wait_s(now_s) == 0
        bucket.take(frame_s, now_s)
    assert bucket.wait_s(3600.0) == 0 and bucket._taken_s < 0.001


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = Share(0.5, 100.0)
    bucket.take(BURST_S + 1, 100.0)
    assert bucket.wait_s(50.0) == bucket.wait_s(100.0) == pytest.approx(2.0)
    assert bucket.wait_s(101.0) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["messages", "pings"])
def test_a_flood_of_small_frames_is_read_at_its_pace(kind: str) -> None:
    async def main() -> int:
        async with keyed(settings={"client_share": 0.02}) as server:
            async with connect(f"ws://{server.address}/v1/stream", ping_interval=None) as client:
                client.transport.set_write_buffer_limits(high=1 << 12)
                sent, began_s = 0, time.monotonic()
                while sent <= 100 or time.monotonic() - began_s < 3.0:
                    try:
                        async with asyncio.timeout(0.5):
                            if kind == "pings":
                                await client.ping()
                            else:
                                await client.send('{"type": "commit"}')
                            sent += 1
                    except TimeoutError:  # nothing more is taken now
                        if sent > 100:
                            break
                        assert time.monotonic() - began_s < 60, "hardly anything is taken"
                async with connect(f"ws://{server.address}/v1/stream"):  # the others are
                    pass
                client.transport.abort()
                return sent

    assert asyncio.run(main()) > 100
