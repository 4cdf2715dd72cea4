"""The sections `server.telephony` and `server.audiosocket`: calls from telephone networks."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from antiphon.engines.config import option
from antiphon.pipeline.config.wyoming import OpenPort


class TelephonyKeys(BaseModel):
    """Calls by media streams (`/v1/telephony/twilio`), and the keypad of every call."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    twilio_auth_token: Annotated[str, Field(min_length=8)] | None = option(
        None,
        "The account's token, by which media streams are signed (`X-Twilio-Signature`); set: only streams that it has "
        "signed are taken, and they need no key. Null: a key is needed wherever others need one.",
        secret=True,
        repr=False,
        examples=["${TWILIO_AUTH_TOKEN}"],
    )
    public_url: str | None = option(
        None,
        "The address at which the telephone network reaches this server, as it signed it; null: as the request says.",
        examples=["wss://calls.example"],
    )


class AudioSocketKeys(OpenPort):
    """Calls from Asterisk (AudioSocket, TCP)."""

    port: int | None = option(
        None, "The port to listen at (9092 by custom); null: off; 0: any free one.", ge=0, le=65535
    )
    max_connections: int = option(64, "Calls at the same time, admitted or not; one more is closed.", ge=1)
    idle_s: float = option(
        10.0,
        "A call from which nothing has come for so long is ended: Asterisk always sends.",
        unit="s",
        gt=0,
    )
