"""`/v1/audio/speech`: text to speech."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from antiphon.engines.errors import AntiphonError
from antiphon.engines.protocols import SpeechChunk, TTSOptions
from antiphon.pipeline.text import make_speakable
from antiphon.server.names import UnknownName, resolve
from antiphon.server.rest.access import Ready, behind_speech
from antiphon.server.rest.encoding import MEDIA_TYPES, AudioFormat, SpeechEncoder
from antiphon.server.rest.errors import ApiError, as_api_error, error_body
from antiphon.server.rest.pace import paced
from antiphon.server.rest.shapes import ERRORS, NOT_FOUND, SPEECH_FORMS
from antiphon.server.rest.sse import EVENT_STREAM, event

router = APIRouter(tags=["audio"])


class VoiceId(BaseModel):
    model_config = ConfigDict(strict=True)

    id: Annotated[str, Field(min_length=1, max_length=200)]


class SpeechRequest(BaseModel):
    """What to say, and how."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [{"model": "tts-1", "voice": "alloy", "input": "It is noon.", "response_format": "wav"}]
        },
    )

    input: Annotated[str, Field(min_length=1, max_length=4096, description="What is said.")]
    model: Annotated[str, Field(min_length=1, max_length=200, description="A configured model, or an alias.")]
    voice: Annotated[str, Field(min_length=1, max_length=200)] | VoiceId = Field(
        description="A voice that the engine has, or an alias; by default any name is the configured one."
    )
    instructions: str | None = Field(None, description="Ignored: the voices there are have one manner.")
    response_format: AudioFormat = Field(
        "mp3",
        description="`opus` is in Ogg; `pcm` is 24 kHz, 16 bits, little-endian, mono; `flac` comes when complete.",
    )
    speed: Annotated[float, Field(ge=0.25, le=4.0, allow_inf_nan=False)] = Field(
        1.0, description="1 is the voice's own pace, 2 twice as fast."
    )
    stream_format: Literal["audio", "sse"] = Field("audio", description="`sse`: as events, with the audio in base64.")


@router.post(
    "/speech",
    summary="Speak a text",
    response_class=StreamingResponse,
    responses={**SPEECH_FORMS, **ERRORS, **NOT_FOUND},
)
async def speech(service: Ready, asked: SpeechRequest) -> Response:
    """A text, spoken; the audio is sent as it is made."""
    tts = service.engines.tts
    service.check_model(asked.model)
    wanted = asked.voice if isinstance(asked.voice, str) else asked.voice.id
    try:
        voice = resolve(wanted, tts.capabilities.voices, service.settings.aliases.voices)
    except UnknownName as error:
        raise ApiError(400, "voice_not_found", str(error), param="voice") from None
    text_options = service.config.text
    languages = tts.capabilities.languages
    speakable = make_speakable(
        languages[0] if languages else None, lexicon=text_options.lexicon, urls=text_options.speak_urls
    )
    options = TTSOptions(voice=voice, speed=None if asked.speed == 1.0 else asked.speed)
    behind_speech()
    deadline_s = service.config.session.tts_deadline_s
    source = paced("tts", tts.synthesize(speakable(asked.input), options), first_s=deadline_s, gap_s=deadline_s)
    first = await anext(source, None)  # an error before any sound has a status of its own
    if first is None:
        raise ApiError(400, "nothing_to_say", "the input has nothing that can be spoken", param="input")
    if asked.stream_format == "sse":
        return StreamingResponse(_events(first, source, asked.response_format), media_type=EVENT_STREAM)
    body = _sound(first, source, asked.response_format)
    return StreamingResponse(body, media_type=MEDIA_TYPES[asked.response_format])


async def _sound(first: SpeechChunk, rest: Any, kind: AudioFormat) -> AsyncGenerator[bytes]:
    encoder = SpeechEncoder(kind)
    async with aclosing(rest):
        yield encoder.push(first.frame.samples, first.frame.rate_hz)
        async for chunk in rest:
            if data := encoder.push(chunk.frame.samples, chunk.frame.rate_hz):
                yield data
    if data := encoder.finish():
        yield data


async def _events(first: SpeechChunk, rest: Any, kind: AudioFormat) -> AsyncIterator[str]:
    try:
        async with aclosing(_sound(first, rest, kind)) as pieces:
            async for data in pieces:
                if data:
                    yield event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode("ascii")})
    except AntiphonError as error:
        told = as_api_error(error)
        yield event({"type": "error", **error_body(told.status, told.code, told.message)})
        return
    usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}  # the protocol wants them; voices have none
    yield event({"type": "speech.audio.done", "usage": usage})
