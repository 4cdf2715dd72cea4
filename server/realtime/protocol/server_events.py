"""The events that a server sends, one function each: plain dicts with an `event_id` of their own, ready for JSON.

The one of the protocol that is missing here is of its beta (`conversation.item.created`).
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from typing import Any, Literal

from antiphon.server.realtime.protocol.errors import ProtocolError
from antiphon.server.realtime.protocol.session import SessionConfig

ServerEvent = dict[str, Any]
Wire = dict[str, Any]


def _event(type: str, **fields: Any) -> ServerEvent:
    return {"type": type, "event_id": f"event_{uuid.uuid4().hex[:20]}", **fields}


def error(problem: ProtocolError) -> ServerEvent:
    return _event("error", error=problem.to_wire())


# ------------------------------------------------------------------------------------------ session


def session_created(config: SessionConfig) -> ServerEvent:
    return _event("session.created", session=config.to_wire())


def session_updated(config: SessionConfig) -> ServerEvent:
    return _event("session.updated", session=config.to_wire())


def conversation_created(conversation_id: str) -> ServerEvent:
    return _event("conversation.created", conversation={"id": conversation_id, "object": "realtime.conversation"})


# ------------------------------------------------------------------------------------------ items


def item_added(item: Wire, previous_item_id: str | None = None) -> ServerEvent:
    return _event("conversation.item.added", previous_item_id=previous_item_id, item=item)


def item_done(item: Wire, previous_item_id: str | None = None) -> ServerEvent:
    return _event("conversation.item.done", previous_item_id=previous_item_id, item=item)


def item_retrieved(item: Wire) -> ServerEvent:
    return _event("conversation.item.retrieved", item=item)


def item_truncated(item_id: str, content_index: int, audio_end_ms: int) -> ServerEvent:
    return _event(
        "conversation.item.truncated", item_id=item_id, content_index=content_index, audio_end_ms=audio_end_ms
    )


def item_deleted(item_id: str) -> ServerEvent:
    return _event("conversation.item.deleted", item_id=item_id)


def transcription_delta(item_id: str, delta: str, content_index: int = 0) -> ServerEvent:
    """Words of the user that will not change any more, behind those sent before."""
    return _event(
        "conversation.item.input_audio_transcription.delta", item_id=item_id, content_index=content_index, delta=delta
    )


def transcription_completed(item_id: str, transcript: str, seconds: float, content_index: int = 0) -> ServerEvent:
    """
    :param seconds: how much sound was transcribed.
    """
    return _event(
        "conversation.item.input_audio_transcription.completed",
        item_id=item_id,
        content_index=content_index,
        transcript=transcript,
        usage={"type": "duration", "seconds": round(seconds, 3)},
    )


def transcription_segment(
    item_id: str, segment_id: str, text: str, start_s: float, end_s: float, *, speaker: str = "", content_index: int = 0
) -> ServerEvent:
    return _event(
        "conversation.item.input_audio_transcription.segment",
        item_id=item_id,
        content_index=content_index,
        id=segment_id,
        text=text,
        speaker=speaker,
        start=start_s,
        end=end_s,
    )


def transcription_failed(item_id: str, message: str, code: str = "transcription_failed") -> ServerEvent:
    return _event(
        "conversation.item.input_audio_transcription.failed",
        item_id=item_id,
        content_index=0,
        error={"type": "transcription_error", "code": code, "message": message},
    )


# ------------------------------------------------------------------------------------------ sound of the user


def input_committed(item_id: str, previous_item_id: str | None = None) -> ServerEvent:
    return _event("input_audio_buffer.committed", item_id=item_id, previous_item_id=previous_item_id)


def input_cleared() -> ServerEvent:
    return _event("input_audio_buffer.cleared")


def speech_started(item_id: str, audio_start_ms: int) -> ServerEvent:
    """
    :param audio_start_ms: since the session's first sound, prefix padding included.
    """
    return _event("input_audio_buffer.speech_started", item_id=item_id, audio_start_ms=audio_start_ms)


def speech_stopped(item_id: str, audio_end_ms: int) -> ServerEvent:
    return _event("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=audio_end_ms)


def timeout_triggered(item_id: str, audio_start_ms: int, audio_end_ms: int) -> ServerEvent:
    """The user has said nothing for `idle_timeout_ms`: from when, until when."""
    return _event(
        "input_audio_buffer.timeout_triggered",
        item_id=item_id,
        audio_start_ms=audio_start_ms,
        audio_end_ms=audio_end_ms,
    )


def dtmf_received(key: str, received_at: int) -> ServerEvent:
    """A key of the telephone; the one event that has no id in the protocol.

    :param key: one of `0` to `9`, `*`, `#`, `A` to `D`.
    :param received_at: seconds since the epoch.
    """
    return {"type": "input_audio_buffer.dtmf_event_received", "event": key, "received_at": received_at}


# ------------------------------------------------------------------------------------------ sound over WebRTC


def output_audio_started(response_id: str) -> ServerEvent:
    return _event("output_audio_buffer.started", response_id=response_id)


def output_audio_stopped(response_id: str) -> ServerEvent:
    return _event("output_audio_buffer.stopped", response_id=response_id)


def output_audio_cleared(response_id: str) -> ServerEvent:
    return _event("output_audio_buffer.cleared", response_id=response_id)


# ------------------------------------------------------------------------------------------ responses


def response_created(response: Wire) -> ServerEvent:
    return _event("response.created", response=response)


def response_done(response: Wire) -> ServerEvent:
    return _event("response.done", response=response)


def output_item_added(response_id: str, output_index: int, item: Wire) -> ServerEvent:
    """
    :param item: its status is `in_progress`: a complete function call would be run now, and once more when it is done.
    """
    return _event("response.output_item.added", response_id=response_id, output_index=output_index, item=item)


def output_item_done(response_id: str, output_index: int, item: Wire) -> ServerEvent:
    return _event("response.output_item.done", response_id=response_id, output_index=output_index, item=item)


class ContentPart:
    """One piece of a response's message: whose events all name the same place."""

    __slots__ = ("_place",)

    def __init__(self, response_id: str, item_id: str, output_index: int = 0, content_index: int = 0) -> None:
        self._place = {
            "response_id": response_id,
            "item_id": item_id,
            "output_index": output_index,
            "content_index": content_index,
        }

    def added(self, modality: Literal["text", "audio"]) -> ServerEvent:
        return _event("response.content_part.added", **self._place, part=_part(modality, ""))

    def done(self, modality: Literal["text", "audio"], text: str) -> ServerEvent:
        """
        :param text: all of it; of sound, the words.
        """
        return _event("response.content_part.done", **self._place, part=_part(modality, text))

    def text_delta(self, delta: str) -> ServerEvent:
        return _event("response.output_text.delta", **self._place, delta=delta)

    def text_done(self, text: str) -> ServerEvent:
        return _event("response.output_text.done", **self._place, text=text)

    def audio_delta(self, audio: bytes) -> ServerEvent:
        """
        :param audio: in the session's output format.
        """
        return _event("response.output_audio.delta", **self._place, delta=base64.b64encode(audio).decode("ascii"))

    def audio_done(self) -> ServerEvent:
        return _event("response.output_audio.done", **self._place)

    def transcript_delta(self, delta: str) -> ServerEvent:
        return _event("response.output_audio_transcript.delta", **self._place, delta=delta)

    def transcript_done(self, transcript: str) -> ServerEvent:
        return _event("response.output_audio_transcript.done", **self._place, transcript=transcript)


def arguments_delta(response_id: str, item_id: str, output_index: int, call_id: str, delta: str) -> ServerEvent:
    return _event(
        "response.function_call_arguments.delta",
        response_id=response_id,
        item_id=item_id,
        output_index=output_index,
        call_id=call_id,
        delta=delta,
    )


def arguments_done(
    response_id: str, item_id: str, output_index: int, call_id: str, name: str, arguments: str
) -> ServerEvent:
    return _event(
        "response.function_call_arguments.done",
        response_id=response_id,
        item_id=item_id,
        output_index=output_index,
        call_id=call_id,
        name=name,
        arguments=arguments,
    )


# ------------------------------------------------------------------------------------------ tools of MCP servers


def mcp_listing(state: Literal["in_progress", "completed", "failed"], item_id: str) -> ServerEvent:
    """
    :param item_id: of the item that has (or will have) the tools.
    """
    return _event(f"mcp_list_tools.{state}", item_id=item_id)


def mcp_arguments_delta(response_id: str, item_id: str, output_index: int, delta: str) -> ServerEvent:
    """The empty `obfuscation` is for the JavaScript client, which ignores the event without it."""
    place = {"response_id": response_id, "item_id": item_id, "output_index": output_index}
    return _event("response.mcp_call_arguments.delta", **place, delta=delta, obfuscation="")


def mcp_arguments_done(response_id: str, item_id: str, output_index: int, arguments: str) -> ServerEvent:
    place = {"response_id": response_id, "item_id": item_id, "output_index": output_index}
    return _event("response.mcp_call_arguments.done", **place, arguments=arguments)


def mcp_call(state: Literal["in_progress", "completed", "failed"], item_id: str, output_index: int) -> ServerEvent:
    """
    :param output_index: of the call in its response, which may be done by then.
    """
    return _event(f"response.mcp_call.{state}", item_id=item_id, output_index=output_index)


# ------------------------------------------------------------------------------------------ limits


def rate_limits_updated(limits: Mapping[str, tuple[int, int, float]]) -> ServerEvent:
    """
    :param limits: by name (`requests`, `tokens`): the limit, what remains of it, seconds until it is whole again.
    """
    return _event(
        "rate_limits.updated",
        rate_limits=[
            {"name": name, "limit": limit, "remaining": remaining, "reset_seconds": reset_s}
            for name, (limit, remaining, reset_s) in limits.items()
        ],
    )


def _part(modality: Literal["text", "audio"], text: str) -> Wire:
    return {"type": "text", "text": text} if modality == "text" else {"type": "audio", "transcript": text}
