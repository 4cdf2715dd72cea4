"""The Wyoming protocol on the wire: events read within bounds, and their audio.

An event is a line of JSON, then `data_length` bytes of JSON, then `payload_length` bytes (PCM). The package `wyoming`
has the events; its own reader takes any length that it is told, so what comes from a network is read here.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from antiphon.engines.audio import Samples, to_mono_float32

if TYPE_CHECKING:
    from wyoming.event import Event

MAX_HEADER_BYTES = 64 * 1024
"""Of the first line. Old programs put an event's data there."""
MAX_DATA_BYTES = 4 * 1024 * 1024
"""A server with many voices describes itself at length."""
MAX_PAYLOAD_BYTES = 1024 * 1024
"""5 s of the fattest audio that is taken."""

_WIDTHS = {1: "u1", 2: "<i2", 4: "<i4"}


class WireBroken(Exception):
    """Raised where bytes are no event. Where the next one begins is not known: the connection is of no more use."""


class BadEvent(ValueError):
    """Raised for an event whose content is not as it should be. The next one may be better."""


class UnreadableAudio(ValueError):
    """Raised for audio in a form that is not read; the message names what is wrong with it."""


async def read_event(
    reader: asyncio.StreamReader,
    *,
    max_data_bytes: int = MAX_DATA_BYTES,
    max_payload_bytes: int = MAX_PAYLOAD_BYTES,
) -> Event | None:
    """The next event; None: the other end has closed.

    :raises WireBroken: what comes is no event, is too long, or breaks off in the middle.
    :raises OSError: the connection broke.
    """
    from wyoming.event import Event

    try:
        line = await reader.readline()
    except ValueError:
        raise WireBroken(f"an event's first line is longer than {MAX_HEADER_BYTES} bytes") from None
    if not line:
        return None
    header = _object(line, "an event's first line")
    kind, data = header.get("type"), header.get("data") or {}
    if not isinstance(kind, str) or not kind:
        raise WireBroken("an event without a type")
    if not isinstance(data, dict):
        raise WireBroken(f"the data of '{kind[:50]}' is no object")
    if more := await _part(reader, header, "data_length", max_data_bytes):
        data = {**data, **_object(more, f"the data of '{kind[:50]}'")}
    return Event(kind, data, await _part(reader, header, "payload_length", max_payload_bytes))


def event_bytes(event: Event) -> bytes:
    """An event as it goes over the wire."""
    from wyoming.version import __version__

    header: dict[str, Any] = {"type": event.type, "version": __version__}
    data = json.dumps(event.data, ensure_ascii=False).encode("utf-8", "replace") if event.data else b""
    payload = event.payload or b""
    if data:
        header["data_length"] = len(data)
    if payload:
        header["payload_length"] = len(payload)
    return json.dumps(header).encode("ascii") + b"\n" + data + payload


async def _part(reader: asyncio.StreamReader, header: dict[str, Any], key: str, most: int) -> bytes | None:
    length = header.get(key)
    if length is None or length == 0:
        return None
    if not isinstance(length, int) or isinstance(length, bool) or length < 0:
        raise WireBroken(f"{key} is no number of bytes")
    if length > most:
        raise WireBroken(f"{key} is {length}; at most {most} are read")
    try:
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        raise WireBroken("the connection was closed in the middle of an event") from None


def _object(text: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise WireBroken(f"{what} is no JSON object")
    return value


def pcm_samples(data: bytes, *, rate_hz: Any, width: Any, channels: Any) -> Samples:
    """PCM of a Wyoming event as float32 mono in [-1, 1].

    :param width: bytes a sample: 1 (unsigned), 2 or 4 (signed, little-endian).
    :raises UnreadableAudio: another form, or bytes that do not come out even.
    """
    check_format(rate_hz, width, channels)
    if len(data) % (width * channels):
        raise UnreadableAudio(f"{len(data)} bytes do not divide into samples of {width * channels}")
    raw = np.frombuffer(data, _WIDTHS[width])
    if width == 1:
        return to_mono_float32((raw.astype(np.float32) - 128.0) / 128.0, channels)
    if width == 2:
        return to_mono_float32(raw.astype(np.int16), channels)
    return to_mono_float32((raw / 2147483648.0).astype(np.float32), channels)


def check_format(rate_hz: Any, width: Any, channels: Any) -> None:
    """
    :raises UnreadableAudio: a form that is not read.
    """
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in (rate_hz, width, channels))
    if not whole or not 4000 <= rate_hz <= 192_000 or width not in _WIDTHS or not 1 <= channels <= 8:
        raise UnreadableAudio(
            f"audio of {rate_hz} Hz, {width} bytes a sample, {channels} channels is not read; "
            "4000 to 192000 Hz, 1, 2 or 4 bytes and 1 to 8 channels are"
        )
