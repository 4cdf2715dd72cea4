"""The section `server.realtime`: bounds of what a Realtime client may pile up."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from antiphon.engines.config import option
from antiphon.pipeline.config.realtime_mcp import McpKeys


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
    keep_audio_s: float = option(
        60.0,
        "Sound of a conversation's newest items that is kept in memory, for `conversation.item.retrieve` (48 kB a "
        "second, 96 in calls); 0: none.",
        unit="s",
        ge=0,
        le=600,
    )
    interrupt: Literal["sure", "at_once", "decided"] = option(
        "sure",
        "When a client on a WebSocket, which cannot be told to pause, is told to drop the reply that the user speaks "
        "into. `sure`: after a fifth of a second of what is speech beyond doubt, or as `decided`, whichever comes "
        "first; `at_once`: at the first sound of a voice, be it a cough; `decided`: as everywhere else "
        "(`interruption.min_speech_ms`, or the words), so that a back-channel does not end it either.",
    )
    mcp: McpKeys = option(McpKeys(), "MCP servers that clients may name for tools of their sessions.")
