"""For operators: `/metrics`, the conversations under way, and another configuration. Scopes: `metrics` and `admin`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from antiphon.engines.config import option
from antiphon.engines.errors import AntiphonError
from antiphon.engines.protocols import EndpointPolicy
from antiphon.engines.turn.presets import PatienceOptions
from antiphon.server.observing.watch import Watch
from antiphon.server.reloading import CannotReload
from antiphon.server.rest.access import AnyService
from antiphon.server.rest.errors import ApiError
from antiphon.server.service import Service
from antiphon.server.talks import Talk

router = APIRouter(tags=["operating"])

SessionId = Annotated[str, Path(max_length=100, description="As `GET /v1/sessions` tells it.")]


class SessionFacts(BaseModel):
    """A conversation under way. Nothing of what was said."""

    id: str
    object: Literal["session"] = "session"
    protocol: str
    key: str = Field(description="Id of its key; empty where none is asked for.")
    address: str = Field(description="Where it comes from; empty where that is not known.")
    age_s: float
    idle_s: float = Field(description="Since anything happened.")
    turns: int
    interruptions: int
    errors: int
    used: dict[str, float] = Field(description="What its engines used so far, by stage and unit: `stt_audio_s`, ...")
    waiting: bool = Field(description="For a place.")


class SessionList(BaseModel):
    object: Literal["list"] = "list"
    data: list[SessionFacts]


class TurnEnds(PatienceOptions):
    """When silence ends a turn: a preset, with single numbers in place of its own; or one fixed silence."""

    silence_ms: float | None = option(
        None, "This silence ends a turn, whatever else is known; the other keys are left out then.", gt=0, le=60_000
    )

    def chosen(self) -> EndpointPolicy:
        """As the turn machine takes it."""
        if self.silence_ms is None:
            return self.policy()
        return EndpointPolicy(silence_ms=self.silence_ms, max_silence_ms=self.silence_ms)


class SessionChange(BaseModel):
    """What can be changed of a conversation under way."""

    model_config = ConfigDict(extra="forbid")

    turn: TurnEnds


class ReloadFacts(BaseModel):
    object: Literal["reload"] = "reload"
    changed: list[str] = Field(description="Sections of the configuration that differ.")
    needs_restart: list[str] = Field(description="Keys that differ, and take effect with the next start only.")
    took_s: float


@router.get("/metrics", response_class=Response)
async def metrics(service: AnyService) -> Response:
    """Figures for Prometheus (docs/reference/metrics.md)."""
    page, media_type = await service.figures()
    return Response(page, media_type=media_type)


@router.get("/v1/sessions")
async def list_sessions(service: AnyService) -> SessionList:
    """The conversations under way, the oldest first."""
    now_s = asyncio.get_running_loop().time()
    found = [_facts(talk, name, watch, now_s) for talk in service.talks for name, (_, watch) in talk.sessions.items()]
    return SessionList(data=sorted(found, key=lambda one: -one.age_s))


@router.patch("/v1/sessions/{session_id}")
async def change_session(
    service: AnyService, request: Request, session_id: SessionId, change: SessionChange
) -> SessionFacts:
    """Let silence end turns sooner or later, from now on."""
    talk, session, watch = _found(service, session_id)
    if not hasattr(session, "policy"):
        raise ApiError(400, "not_supported", "this conversation is in text: there is no silence in it")
    session.policy = change.turn.chosen()
    service.access.note(request, "session_changed", session=session_id)
    return _facts(talk, session_id, watch, asyncio.get_running_loop().time())


@router.delete("/v1/sessions/{session_id}", status_code=202)
async def end_session(service: AnyService, request: Request, session_id: SessionId) -> SessionFacts:
    """End a conversation in order: what is being said is said to its end."""
    talk, _, watch = _found(service, session_id)
    talk.conversing.close()
    service.access.note(request, "session_ended_by_operator", session=session_id)
    return _facts(talk, session_id, watch, asyncio.get_running_loop().time())


@router.post("/v1/admin/reload")
async def reload(service: AnyService, request: Request) -> ReloadFacts:
    """Read the configuration again. Running conversations keep the engines that they have; one that is invalid is
    refused, and everything stays as it was."""
    try:
        done = await service.reloading.reload()
    except CannotReload as why:
        service.access.note(request, "config_refused")
        raise ApiError(409, "cannot_reload", str(why)) from None
    except AntiphonError as error:
        service.access.note(request, "config_refused")
        raise ApiError(422, "invalid_config", str(error)) from None
    service.access.note(request, "config_reloaded", changed=", ".join(done.changed))
    return ReloadFacts(changed=list(done.changed), needs_restart=list(done.needs_restart), took_s=done.took_s)


def _found(service: Service, session_id: str) -> tuple[Talk, Any, Watch]:
    for talk in service.talks:
        if session_id in talk.sessions:
            session, watch = talk.sessions[session_id]
            return talk, session, watch
    raise ApiError(404, "session_not_found", "no conversation of that id is under way", param="session_id")


def _facts(talk: Talk, name: str, watch: Watch, now_s: float) -> SessionFacts:
    return SessionFacts(
        id=name,
        protocol=watch.protocol,
        key=watch.key,
        address=watch.address,
        age_s=round(now_s - watch.began_s, 1),
        idle_s=round(max(0.0, now_s - watch.active_s), 1),
        turns=watch.turns,
        interruptions=watch.interruptions,
        errors=watch.errors,
        used=watch.used(),
        waiting=talk.place is not None,
    )
