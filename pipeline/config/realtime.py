"""The section `server.realtime`: bounds of what a Realtime client may pile up."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from antiphon.engines.config import option


class RealtimeKeys(BaseModel):
    """What one client may pile up."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_items: int = option(1000, "Items of a conversation; one more is refused.", ge=8, le=100_000)
    max_text_chars: int = option(
        4_000_000, "Characters in all items of a conversation together; more are refused.", ge=10_000
    )
    max_buffer_s: float = option(
        300.0, "Audio that a client may send before it commits it itself (push-to-talk).", unit="s", gt=0, le=3600
    )
    max_asides: int = option(
        4, "Answers beside the conversation (`conversation: none`) at the same time; one more is refused.", ge=0, le=64
    )
