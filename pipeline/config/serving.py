"""The section `server`: what `antiphon serve` listens to, and its limits."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from antiphon.engines.config import option


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
        "127.0.0.1", "The address to listen at. Only this machine's own (loopback) is allowed so far.", min_length=1
    )
    port: int = option(8080, "The port to listen at; 0: any free one.", ge=0, le=65535)
    allowed_hosts: tuple[Annotated[str, Field(min_length=1)], ...] = option(
        (), "Names besides localhost that clients may call the server by (the `Host` header)."
    )
    allowed_origins: tuple[Annotated[str, Field(min_length=1)], ...] = option(
        (), "Web pages from elsewhere that may connect, such as `https://desk.example`; the server's own may."
    )
    max_sessions: int = option(16, "Conversations at the same time; one more is refused (503).", ge=1)
    max_session_s: float = option(3600.0, "How long a conversation may last; then it ends.", unit="s", gt=0)
    stall_s: float = option(60.0, "A conversation whose client has sent nothing for so long is ended.", unit="s", gt=0)
    max_upload_mb: int = option(100, "The longest body of a request, such as a recording.", unit="MB", ge=1, le=4096)
    aliases: Aliases = option(Aliases(), "Names that clients ask for, and what they mean here.")
    max_message_kb: int = option(1024, "The longest message that a client may send.", unit="kB", ge=1, le=65536)
    drain_s: float = option(
        30.0, "At the end (SIGTERM, Ctrl-C), conversations have so long to finish what is being said.", unit="s", ge=0
    )
