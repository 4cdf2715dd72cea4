"""The section `server.webrtc`: where calls of browsers reach the server."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from antiphon.engines.config import option

_SERVER = re.compile(r"(?P<scheme>stuns?|turns?):(?P<host>[^?:\s]+)(:\d{1,5})?(\?transport=(udp|tcp))?")


class WebRtcKeys(BaseModel):
    """Calls over WebRTC: sound travels over UDP ports of their own. Without servers named here, nobody else is asked
    where this machine can be reached."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    addresses: tuple[Annotated[str, Field(min_length=1)], ...] = option(
        (),
        "Addresses of this machine at which sound is taken. By default `server.host`; where that is every address, all "
        "of them.",
        examples=[["192.0.2.10"]],
    )
    advertised: str | None = option(
        None, "The address that callers are told in place of those, where ports are forwarded (NAT, containers)."
    )
    ports: tuple[int, int] | None = option(
        None,
        "The first and the last UDP port to use, one for each call; by default any free ones.",
        examples=[[50000, 50100]],
    )
    stun: str | None = option(
        None, "A server of your own that tells this machine its outer address.", examples=["stun:stun.example:3478"]
    )
    turn: str | None = option(
        None, "A relay of your own, for callers who cannot reach this machine.", examples=["turn:turn.example:3478"]
    )
    turn_username: str | None = option(None, "The name at the relay.")
    turn_password: str | None = option(None, "The password at the relay.", secret=True)
    connect_s: float = option(20.0, "A call that is not connected after so long is given up.", unit="s", gt=0, le=300)
    max_sidebands: int = option(4, "Further WebSockets that may follow and steer one call.", ge=0, le=64)

    @field_validator("addresses", mode="after")
    @classmethod
    def _are_addresses(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for one in given:
            ipaddress.ip_address(one)
        return given

    @field_validator("advertised", mode="after")
    @classmethod
    def _is_address(cls, given: str | None) -> str | None:
        if given is not None:
            ipaddress.ip_address(given)
        return given

    @field_validator("ports", mode="after")
    @classmethod
    def _is_range(cls, given: tuple[int, int] | None) -> tuple[int, int] | None:
        if given is not None and not 1024 <= given[0] <= given[1] <= 65535:
            raise ValueError("the first port is at least 1024, the last one at most 65535, and not before the first")
        return given

    @field_validator("stun", "turn", mode="after")
    @classmethod
    def _is_server(cls, given: str | None) -> str | None:
        if given is not None and _SERVER.fullmatch(given) is None:
            raise ValueError("a server is written as stun:HOST:PORT or turn:HOST:PORT?transport=udp")
        return given

    @model_validator(mode="after")
    def _has_credentials(self) -> WebRtcKeys:
        if self.turn is not None and (self.turn_username is None or self.turn_password is None):
            raise ValueError("turn needs turn_username and turn_password")
        return self
