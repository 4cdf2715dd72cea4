"""The section `server.wyoming`: the Wyoming server, for Home Assistant and other programs of voice."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from antiphon.engines.config import option
from antiphon.pipeline.config.access import Network

WyomingService = Literal["asr", "tts", "handle", "pipeline"]
"""Recordings to text; text to speech; text to the agent's answer; speech to the agent's spoken answer."""


class OpenPort(BaseModel):
    """A port whose protocol knows no keys: who reaches it may use it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = option(
        "127.0.0.1",
        "The address to listen at. Any but this machine's own (loopback) needs `allowed_addresses`.",
        min_length=1,
    )
    allowed_addresses: tuple[Network, ...] = option(
        (),
        "This protocol has no keys: these addresses and networks may use it, besides this machine itself. Everybody: "
        '`["0.0.0.0/0", "::/0"]`.',
        examples=[["192.168.1.20", "192.168.2.0/24"]],
    )
    max_connections_per_address: int | None = option(
        None, "Connections at the same time from one address (a /64 of IPv6); null: only `max_connections` counts.",
        ge=1,
    )  # fmt: skip


class WyomingKeys(OpenPort):
    """What the Wyoming server offers, and where."""

    port: int | None = option(
        None, "The port to listen at (the protocol has no fixed one; 10400, say); null: off; 0: any "
        "free one.", ge=0, le=65535
    )  # fmt: skip
    services: tuple[WyomingService, ...] = option(
        ("asr", "tts", "handle", "pipeline"),
        "What is offered: `asr` (speech to text), `tts` (text to speech), `handle` (the agent, in text), `pipeline` "
        "(the agent, in speech). An engine `none` offers nothing.",
    )
    name: str = option("antiphon", "The name that programs see.", min_length=1, max_length=100)
    languages: tuple[Annotated[str, Field(min_length=2, max_length=20)], ...] = option(
        (), "Languages to tell programs of, where an engine does not say which it knows; none: English."
    )
    zeroconf: bool = option(
        False, "Make the server known in the local network (mDNS), so that Home Assistant finds it. Needs the package "
        "zeroconf; only sensible with a `host` that others reach."
    )  # fmt: skip
    max_connections: int = option(32, "Connections at the same time; one more is told so and closed.", ge=1)
    idle_s: float = option(
        300.0,
        "A connection on which nothing has come for so long, and nothing is being done, is closed.",
        unit="s",
        gt=0,
    )
    max_audio_s: float = option(300.0, "The longest recording of one request to `asr`.", unit="s", gt=0, le=7200)
    echo_cancelled: bool = option(
        False,
        "Satellites that stream all the time (`restart_on_end`, or a run that begins with `wake`) do not hear what "
        "they play: the user may speak into a reply. False: while a reply is heard, they are not listened to.",
    )
    satellites: tuple[Annotated[str, Field(min_length=1)], ...] = option(
        (),
        "Voice satellites (`wyoming-satellite` and its like) to connect to and serve, as Home Assistant would.",
        examples=[["tcp://192.168.1.20:10700"]],
    )
