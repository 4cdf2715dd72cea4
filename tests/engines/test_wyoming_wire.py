"""Wyoming on the wire: what is written is what is read, and whatever else comes is refused within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wyoming.event import Event

from antiphon.engines.wyoming_wire import UnreadableAudio, WireBroken, event_bytes, pcm_samples, read_event

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def read_all(data: bytes, **limits: int) -> list[Event]:
    """Every event of a connection, up to its end or to what is none."""

    async def main() -> list[Event]:
        reader = asyncio.StreamReader(limit=64 * 1024)
        reader.feed_data(data)
        reader.feed_eof()
        events = []
        while (event := await read_event(reader, **limits)) is not None:
            events.append(event)
        return events

    return asyncio.run(main())


@given(st.lists(st.tuples(st.text(min_size=1), st.dictionaries(st.text(), JSON, max_size=3), st.binary(max_size=50))))
def test_what_is_written_is_what_is_read(events: list[tuple[str, dict[str, Any], bytes]]) -> None:
    sent = [Event(kind, data, payload or None) for kind, data, payload in events]
    encodable = json.loads(json.dumps([event.data for event in sent], ensure_ascii=False).encode("utf-8", "replace"))
    got = read_all(b"".join(event_bytes(event) for event in sent))
    assert [(event.type, event.payload) for event in got] == [(event.type, event.payload) for event in sent]
    assert [event.data for event in got] == encodable


def test_the_package_reads_what_is_written_and_old_programs_data_in_the_first_line_is_read() -> None:
    from wyoming.event import async_read_event

    async def main() -> Any:
        reader = asyncio.StreamReader()
        reader.feed_data(event_bytes(Event("transcript", {"text": "ä"}, b"\x00\x01")))
        return await async_read_event(reader)

    event = asyncio.run(main())
    assert (event.type, event.data, event.payload) == ("transcript", {"text": "ä"}, b"\x00\x01")
    old = b'{"type": "a", "data": {"x": 1, "y": 1}, "data_length": 8}\n{"y": 2}'
    assert read_all(old)[0].data == {"x": 1, "y": 2}


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: (text + "\n").encode("utf-8", "replace")))
def test_any_bytes_are_events_or_refused(data: bytes) -> None:
    with contextlib.suppress(WireBroken):
        read_all(data)


@given(JSON, st.binary(max_size=20))
def test_any_json_is_an_event_or_refused(header: Any, rest: bytes) -> None:
    with contextlib.suppress(WireBroken):
        read_all(json.dumps(header).encode() + b"\n" + rest)


def test_nothing_is_read_beyond_the_bounds() -> None:
    header = b'{"type": "a", "data_length": %d, "payload_length": %d}\n'
    assert read_all(header % (2, 3) + b"{}abc", max_data_bytes=2, max_payload_bytes=3)[0].payload == b"abc"
    for data, payload in ((3, 3), (2, 4)):
        with pytest.raises(WireBroken, match="at most"):
            read_all(header % (data, payload) + b"{} abcd", max_data_bytes=2, max_payload_bytes=3)


@pytest.mark.parametrize(
    ("data", "form", "told"),
    [
        (b"abc", (16000, 2, 1), "do not divide"),
        (b"", (16000, 3, 1), "3 bytes a sample"),
        (b"", (16000, 2, 0), "0 channels"),
        (b"", (100, 2, 1), "100 Hz"),
        (b"", (True, 2, 1), "True Hz"),
        (b"", (None, None, None), "None Hz"),
        (b"", (16000.0, 2, 1), r"16000\.0 Hz"),
    ],
)
def test_audio_that_cannot_be_read_is_told(data: bytes, form: Any, told: str) -> None:
    with pytest.raises(UnreadableAudio, match=told):
        pcm_samples(data, rate_hz=form[0], width=form[1], channels=form[2])


@given(
    st.binary(max_size=64).map(lambda data: data[: len(data) // 8 * 8]),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([1, 2]),
)
def test_audio_is_within_full_scale(data: bytes, width: int, channels: int) -> None:
    samples = pcm_samples(data, rate_hz=16000, width=width, channels=channels)
    assert samples.dtype == np.float32 and len(samples) == len(data) // width // channels
    assert np.abs(samples).max(initial=0) <= 1
