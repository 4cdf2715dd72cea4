"""What the console asks the server: its state, what was said before, and what waits for somebody's yes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import PlainTextResponse, Response

from antiphon.pipeline.errors import AlreadyDecided, ApprovalError, UnknownApproval
from antiphon.pipeline.policy.approval import STATES, Approval, State
from antiphon.pipeline.transcript import RecordingKey, TranscriptError, TranscriptStore, UnknownSession
from antiphon.pipeline.transcript.errors import RecordingDamaged
from antiphon.pipeline.transcript.export import to_jsonl, to_markdown, to_vtt
from antiphon.pipeline.transcript.playback import Playback
from antiphon.server.access.principal import PRINCIPAL, Denied, Principal, Scope, principal_of
from antiphon.server.console import shapes, views
from antiphon.server.console.audio import Recordings, Tickets, wav_response
from antiphon.server.console.files import HEADERS
from antiphon.server.rest.access import AnyService, Ready
from antiphon.server.rest.errors import ApiError
from antiphon.server.service import Service

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_LISTED = 200
SessionName = Annotated[str, Field(min_length=1, max_length=200)]
_FILE = {"schema": {"type": "string"}}
_EXPORTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/markdown": _FILE, "text/vtt": _FILE, "application/jsonl": _FILE}}
}


class Memory:
    """What the console's calls remember from one to the next."""

    def __init__(self, edition: str) -> None:
        """
        :param edition: of the page's files.
        """
        self.edition = edition
        self.recordings = Recordings()
        self.tickets = Tickets()


def _memory(request: Request) -> Memory:
    memory: Memory = request.app.state.console
    return memory


def _headers(response: Response) -> None:
    response.headers.update({**HEADERS, "Cache-Control": "no-store"})


def _may(scope: Scope) -> Callable[[Request], Principal]:
    def check(request: Request) -> Principal:
        return principal_of(request, scope)

    return check


def _anybody(request: Request) -> Principal:
    """Whoever has a key, whatever it is for."""
    principal: Principal | None = request.scope.get(PRINCIPAL)
    if principal is None:
        raise Denied(401, "missing_api_key", "nobody has asked who this is")
    return principal


Remembered = Annotated[Memory, Depends(_memory)]
Reader = Annotated[Principal, Depends(_may("transcripts"))]
Decider = Annotated[Principal, Depends(_may("approvals"))]
Anybody = Annotated[Principal, Depends(_anybody)]

router = APIRouter(tags=["console"], dependencies=[Depends(_headers)])


@router.get("/v1/state", response_model=shapes.State)
async def state(service: AnyService, principal: Anybody, memory: Remembered) -> dict[str, Any]:
    """What the server is, how it is, and what the key is for."""
    return views.server_state(service, principal) | {"console": memory.edition}


# ---------------------------------------------------------------------------------------- transcripts


class Cursor(NamedTuple):
    """Where a list goes on."""

    started_at: datetime
    session: str

    @classmethod
    def read(cls, text: str) -> Cursor:
        """:raises ApiError: it is none."""
        at, _, session = text.partition("|")
        with suppress(ValueError, OverflowError):
            moment = datetime.fromisoformat(at)
            if moment.tzinfo is not None:
                return cls(moment.astimezone(UTC), session)
        raise ApiError(400, "invalid_request", "'after' is no place in the list", param="after")

    def write(self) -> str:
        return f"{self.started_at.isoformat()}|{self.session}"


@router.get("/v1/transcripts", response_model=shapes.Lines)
async def transcripts(
    service: Ready,
    principal: Reader,
    words: Annotated[str, Query(max_length=200)] = "",
    after: Annotated[str, Query(max_length=300)] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 30,
) -> dict[str, Any]:
    """Sessions, newest first; those in which the words were said, if any are given."""
    place = Cursor.read(after) if after else None
    store = service.assembly.transcripts
    if store is None:  # where nothing is kept, there is nothing
        return {"sessions": [], "after": None}
    wanted = words.replace("\0", " ")  # which PostgreSQL has no place for
    found = await _in_thread(lambda: store.search(wanted, before=place, limit=limit + 1))
    shown = found[:limit]
    more = Cursor(shown[-1].info.started_at, shown[-1].info.id).write() if len(found) > limit else None
    return {"sessions": [views.session_line(one) for one in shown], "after": more}


@router.get("/v1/transcripts/{session}", response_model=shapes.Conversation)
async def transcript(request: Request, service: Ready, principal: Reader, session: SessionName) -> dict[str, Any]:
    """A whole conversation."""
    store = _store(service)

    def read() -> dict[str, Any]:
        info, turns = store.session(session), store.turns(session)
        return views.conversation(info, turns, store.records(session), store.usage(session))

    talk = await _in_thread(read)
    service.access.note(request, "transcript_read", session=session)
    return talk


@router.get("/v1/transcripts/{session}/export", response_class=Response, responses=_EXPORTS)
async def export(
    request: Request,
    service: Ready,
    principal: Reader,
    session: SessionName,
    kind: Literal["md", "vtt", "jsonl"] = "md",
) -> Response:
    """A conversation as a file."""
    store = _store(service)

    def write() -> str:
        info = store.session(session)
        match kind:
            case "md":
                return to_markdown(info, store.turns(session))
            case "vtt":
                return to_vtt(store.turns(session))
        return to_jsonl(info, store.records(session))

    text = await _in_thread(write)
    service.access.note(request, "transcript_read", session=session)
    media_type = {"md": "text/markdown", "vtt": "text/vtt", "jsonl": "application/jsonl"}[kind]
    name = "".join(c for c in session if c.isalnum() or c in "_-")[:80] or "conversation"
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{name}.{kind}"', "Cache-Control": "no-store"}
    return PlainTextResponse(text, media_type=media_type, headers=headers)


@router.post("/v1/transcripts/{session}/ticket", response_model=shapes.Ticket)
async def ticket(
    request: Request, service: Ready, principal: Reader, memory: Remembered, session: SessionName
) -> dict[str, Any]:
    """An address at which the recording can be heard for a quarter of an hour, without a key."""
    playback = await _playback(service, memory, session)
    service.access.note(request, "transcript_read", session=session)
    name = memory.tickets.give(session)
    return {"url": f"/console/audio/{name}", "duration_s": round(playback.duration_s, 3)}


@router.get("/console/audio/{ticket}", include_in_schema=False)
async def audio(service: Ready, memory: Remembered, ticket: SessionName, request: Request) -> Response:
    """A recording as WAV, or the part of it that is asked for: left the user, right the assistant."""
    session = memory.tickets.session(ticket)
    if session is None:
        raise ApiError(404, "not_found", "there is no recording at this address any more; open it again")
    playback = await _playback(service, memory, session)
    response = wav_response(playback, request.headers.get("range"))
    response.headers.update({name: value for name, value in HEADERS.items() if name not in response.headers})
    return response


async def _playback(service: Service, memory: Memory, session: str) -> Playback:
    store, keys = _store(service), service.config.transcript

    def look() -> Playback:
        info = store.session(session)
        if not info.audio_files:
            raise ApiError(404, "no_recording", f"of the session {session} there is no recording")
        path: Path = store.recordings / info.audio_files[0]
        try:
            return memory.recordings.open(path, lambda: RecordingKey.load(keys.key_file))
        except RecordingDamaged as error:
            if info.ended:
                raise
            message = "the conversation is not over: of its recording nothing can be heard yet"
            raise ApiError(409, "recording_open", message) from error

    return await _in_thread(look)


def _store(service: Service) -> TranscriptStore:
    store = service.assembly.transcripts
    if store is None:
        raise ApiError(404, "no_transcripts", "no transcripts are kept: set transcript.store in the configuration")
    return store


async def _in_thread(work: Callable[[], T]) -> T:
    """Work that waits for a database or a disk."""
    try:
        return await asyncio.to_thread(work)
    except UnknownSession as error:
        raise ApiError(404, "not_found", error.message) from error
    except TranscriptError as error:  # it may name files and servers, which are nothing for clients
        logger.error("transcripts could not be read for the console", extra={"reason": error.message})
        message = "the transcripts cannot be read just now; the server's log says why"
        raise ApiError(500, "transcripts_failed", message) from error


# ------------------------------------------------------------------------------------------ approvals


class Choice(BaseModel):
    """What somebody decides."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    granted: bool
    note: Annotated[str, Field(max_length=1000)] = ""


@router.get("/v1/approvals", response_model=shapes.Questions)
async def approvals(service: Ready, principal: Decider, which: Literal["pending", "all"] = "pending") -> dict[str, Any]:
    """Questions, oldest first; `now_s` is the server's clock, by which they run out."""
    desk = service.assembly.desk
    states: tuple[State, ...] = STATES if which == "all" else ("pending",)
    found: list[Approval] = []
    if await asyncio.to_thread(desk.path.exists):  # looking makes no file
        async with _deciding():
            found = await desk.find(states=states)
    return {"approvals": [one.to_dict() for one in found[-MAX_LISTED:]], "now_s": time.time()}


@router.post("/v1/approvals/{approval_id}", response_model=shapes.Question)
async def decide(
    request: Request, service: Ready, principal: Decider, approval_id: SessionName, choice: Choice
) -> dict[str, Any]:
    """Grant or refuse. The first decision counts."""
    desk = service.assembly.desk
    if not await asyncio.to_thread(desk.path.exists):
        raise ApiError(404, "not_found", f"there is no approval '{approval_id}'")
    by = principal.key_id or "console"
    async with _deciding():
        if (await desk.get(approval_id)).decides == "voice":
            raise ApiError(409, "voice_only", f"'{approval_id}' waits for the caller's spoken answer")
        decided = await desk.decide(approval_id, choice.granted, by=by, note=choice.note)
    service.access.note(request, "approval_decided", approval=approval_id, granted=choice.granted)
    return decided.to_dict()


@asynccontextmanager
async def _deciding() -> AsyncIterator[None]:
    try:
        yield
    except UnknownApproval as error:
        raise ApiError(404, "not_found", error.message) from error
    except AlreadyDecided as error:
        raise ApiError(409, "decided", error.message) from error
    except ApprovalError as error:
        raise ApiError(500, "approvals_failed", error.message) from error
