"""What the console is told, as JSON-ready values."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from antiphon.pipeline.transcript import Record, SessionInfo, TurnView
from antiphon.pipeline.transcript.export import utc, wall
from antiphon.pipeline.transcript.searching import Found
from antiphon.pipeline.usage import EngineUsage
from antiphon.server.access.principal import Principal
from antiphon.server.service import Refused, Service

_STAGES = ("vad", "turn", "stt", "llm", "tts")


def server_state(service: Service, principal: Principal) -> dict[str, Any]:
    """What the server is, and how it is."""
    config = service.config
    kept = config.transcript
    return {
        "version": version("antiphon"),
        "scopes": sorted(principal.scopes),
        "key_id": principal.key_id,
        "refused": _refused(service),
        "sessions": service.sessions,
        "max_sessions": service.settings.max_sessions,
        "workflow": config.workflow.kind,
        "offline": config.session.offline,
        "transcripts": {
            "kept": kept.store != "none",
            "audio": kept.store != "none" and kept.record_audio,
            "encrypted": kept.encrypt,
            "keep": kept.keep,
        },
        "engines": _engines(service),
        "workers": _workers(service),
    }


def _refused(service: Service) -> dict[str, Any] | None:
    """Why no conversation would be taken now."""
    try:
        service.check()
    except Refused as why:
        return {"code": why.code, "message": why.message, "retry_after_s": why.retry_after_s}
    return None


def _engines(service: Service) -> list[dict[str, Any]]:
    config, assembly = service.config, service.assembly
    loaded: dict[str, Any] = (
        {} if assembly.engines is None else {"stt": assembly.engines.stt, "tts": assembly.engines.tts}
    )
    loaded["llm"] = assembly.llm
    found = []
    for stage in _STAGES:
        blocks = getattr(config, stage)
        standing = list(getattr(loaded.get(stage), "in_order", {}).values())
        for number, block in enumerate(blocks if isinstance(blocks, tuple) else (blocks,)):
            model = getattr(block.options, "model", None) or getattr(block.options, "voice", None)
            found.append(
                {
                    "stage": stage,
                    "engine": block.engine,
                    "model": model if isinstance(model, str) else None,
                    "fallback": number,
                    "load_s": assembly.load_s.get(stage) if not number else None,
                    "in_order": standing[number] if number < len(standing) else None,
                    "loaded": service.ready,
                }
            )
    return found


def _workers(service: Service) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "queued": stats.queued,
            "running": stats.running,
            "done": stats.done,
            "failed": stats.failed,
            "dropped": stats.dropped,
            "refused": stats.refused,
            "busy_s": round(stats.busy_s, 3),
        }
        for name, stats in sorted(service.assembly.host.stats().items())
    ]


# ---------------------------------------------------------------------------------------- transcripts


def session_line(found: Found) -> dict[str, Any]:
    """A session in a list."""
    return {
        **_about(found.info),
        "opening": found.opening,
        "hits": [{"turn": hit.turn, "who": hit.who, "text": hit.text} for hit in found.hits],
    }


def conversation(
    info: SessionInfo, turns: Sequence[TurnView], records: Sequence[Record], usage: Sequence[EngineUsage]
) -> dict[str, Any]:
    """A session with all its turns."""
    asked = _approvals(records)
    return {
        **_about(info),
        "turns_shown": [_turn(info, turn) | {"approvals": asked.get(turn.turn, [])} for turn in turns],
        "usage": [_used(one) for one in usage],
    }


def _about(info: SessionInfo) -> dict[str, Any]:
    return {
        "id": info.id,
        "started_at": utc(info.started_at),
        "last_at": utc(info.last_at),
        "ended": info.ended,
        "turns": info.turns,
        "person": info.person,
        "resumed_from": info.resumed_from,
        "audio": bool(info.audio_files),
    }


def _turn(info: SessionInfo, turn: TurnView) -> dict[str, Any]:
    return {
        "turn": turn.turn,
        "at": utc(wall(info, turn)) if turn.at is not None else None,
        "status": turn.status,
        "aside": turn.aside,
        "user": turn.user,
        "heard": turn.heard,
        "unheard": turn.unheard,
        "calls": [
            {"call_id": call.call_id, "name": call.name, "arguments": call.arguments, "output": call.output}
            for call in turn.calls
        ],
        "errors": list(turn.errors),
        "timings": dict(turn.timings),
        "response_ms": turn.response_ms,
        "from_s": _begins_s(turn),
        "usage": [_used(one) for one in turn.usage],
    }


def _begins_s(turn: TurnView) -> float | None:
    """Its place in the recording."""
    if turn.speech_from_s is not None:
        return turn.speech_from_s
    return turn.spoken[0][0] if turn.spoken else None


def _approvals(records: Sequence[Record]) -> dict[int, list[dict[str, Any]]]:
    """Of each turn the questions that were asked, and what became of them last."""
    found: dict[int, dict[str, dict[str, Any]]] = {}
    for record in records:
        if record.kind == "approval" and "approval_id" in record.data:
            shown = {key: record.data.get(key, "") for key in ("approval_id", "state", "question", "tool", "by")}
            found.setdefault(record.turn, {})[shown["approval_id"]] = shown
    return {turn: list(asked.values()) for turn, asked in found.items()}


def _used(one: EngineUsage) -> dict[str, Any]:
    return {"stage": one.stage, "engine": one.engine, "unit": one.unit, "amount": one.amount, "wasted": one.wasted}
