"""The section `server`: what `antiphon serve` listens to, and its limits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from antiphon.engines.config import option
from antiphon.pipeline.config.operating import TracingKeys
from antiphon.pipeline.config.realtime import RealtimeKeys
from antiphon.pipeline.config.telephony import AudioSocketKeys, TelephonyKeys
from antiphon.pipeline.config.webrtc import WebRtcKeys
from antiphon.pipeline.config.wyoming import WyomingKeys


class Aliases(BaseModel):
    """What names of other people's models and voices mean here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: dict[str, str] = option(
        {"*": "default"},
        "Models by the name that clients ask for; `*`: any other name. `default` is the configured one. Without `*`, "
        "unknown names are refused.",
    )
    voices: dict[str, str] = option(
        {"*": "default"},
        "Voices likewise: a name that the voice engine knows, or `default`.",
        examples=[{"alloy": "en_US-joe-medium", "*": "default"}],
    )


class ServerKeys(BaseModel):
    """Where `antiphon serve` listens, and its limits."""

    host: str = option(
        "127.0.0.1",
        "The address to listen at. Any but this machine's own (loopback) needs API keys: `antiphon keys create`.",
        min_length=1,
    )
    port: int = option(8080, "The port to listen at; 0: any free one.", ge=0, le=65535)
    allowed_hosts: tuple[Annotated[str, Field(min_length=1)], ...] = option(
        (), "Names besides localhost that clients may call the server by (the `Host` header)."
    )
    allowed_origins: tuple[Annotated[str, Field(min_length=1)], ...] = option(
        (), "Web pages from elsewhere that may connect, such as `https://desk.example`; the server's own may."
    )
    max_sessions: int = option(16, "Conversations at the same time; one more is refused (503).", ge=1)
    capacity: Annotated[int, Field(ge=1)] | Literal["auto", "off"] = option(
        "auto",
        "Live conversations that this machine carries (one that nobody has spoken in for half a minute does not "
        "count). `auto`: as `capacity_from` measured, and fewer while answers come too late; `off`: as many as there "
        "may be.",
    )
    capacity_from: Path | None = option(
        None, "`result.json` of `antiphon bench load`, on this machine and this configuration, for `capacity: auto`."
    )
    capacity_p95_ms: float = option(
        1500.0, "With `capacity: auto`: a slower p95 of the time to the first audio means too many.", unit="ms", gt=0
    )
    when_full: Literal["refuse", "wait"] = option(
        "refuse",
        "Who comes when the machine carries no more is told to come again (503), or is taken in, hears `full_notice`, "
        "and waits.",
    )
    full_notice: str = option(
        "All lines are busy. Please wait a moment.", "Said to those who wait; empty: nothing.", max_length=300
    )
    wait_over_notice: str = option(
        "Thank you for waiting.", "Said when their turn comes, before the greeting; empty: nothing.", max_length=300
    )
    max_wait_s: float = option(60.0, "Who has waited for so long is told to come again.", unit="s", gt=0)
    max_waiting: int = option(4, "So many may wait; one more is refused.", ge=1, le=1000)
    log_format: Literal["text", "json"] = option(
        "text", "Lines of the log (standard error) for people, or as JSON. Neither holds what was said."
    )
    log_level: Literal["debug", "info", "warning", "error"] = option("warning", "What is logged: this and worse.")
    tracing: TracingKeys = option(TracingKeys(), "Traces of conversations, for OpenTelemetry.")
    wyoming: WyomingKeys = option(WyomingKeys(), "A port for Home Assistant and other programs that speak Wyoming.")
    telephony: TelephonyKeys = option(TelephonyKeys(), "Calls by media streams (Twilio's frames).")
    audiosocket: AudioSocketKeys = option(AudioSocketKeys(), "A port for calls from Asterisk.")
    realtime: RealtimeKeys = option(RealtimeKeys(), "What a client of the Realtime protocol may pile up.")
    webrtc: WebRtcKeys = option(WebRtcKeys(), "Calls of browsers (WebRTC): where their sound comes and goes.")
    max_session_s: float = option(3600.0, "How long a conversation may last; then it ends.", unit="s", gt=0)
    stall_s: float = option(60.0, "A conversation whose client has sent nothing for so long is ended.", unit="s", gt=0)
    max_upload_mb: int = option(100, "The longest body of a request, such as a recording.", unit="MB", ge=1, le=4096)
    max_recording_s: float = option(
        3600.0, "The longest recording in a request; two at a time are heard.", unit="s", gt=0, le=7200
    )
    aliases: Aliases = option(Aliases(), "Names that clients ask for, and what they mean here.")
    max_message_kb: int = option(
        4096, "The longest message that a client may send: a minute of speech in one event.", unit="kB", ge=1, le=65536
    )
    drain_s: float = option(
        30.0, "At the end (SIGTERM, Ctrl-C), conversations have so long to finish what is being said.", unit="s", ge=0
    )
