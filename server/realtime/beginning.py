"""What a Realtime session begins with: the server's own values, then what is bound to the key, then the client's."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from antiphon.server.realtime import tuning
from antiphon.server.realtime.mcp.allowing import Allowing
from antiphon.server.realtime.protocol import SemanticVad, SessionConfig, parse_session
from antiphon.server.realtime.protocol.session import Kind
from antiphon.server.service import Service


def first_config(
    service: Service,
    *,
    id: str,
    kind: Kind = "realtime",
    model: str | None = None,
    settings: Sequence[Mapping[str, Any] | None] = (),
) -> SessionConfig:
    """The effective session before any `session.update`.

    :param model: by which name the client asks for what is configured.
    :param settings: as in `session.update`, merged in order. Their `type` is not looked at: `kind` says it.
    :raises ProtocolError: a setting is wrong, or a name means nothing here.
    """
    config = _own(service, id, kind, model)
    for given in settings:
        if given:
            config = config.merged(parse_session({**given, "type": kind}))
    return as_allowed(service, config)


def as_allowed(service: Service, config: SessionConfig) -> SessionConfig:
    """What is effective of a configuration: where the operator lets nothing interrupt replies, no client can ask for
    it, and is told so.

    :raises ProtocolError: a model or a voice means nothing here; an MCP server may not be reached.
    """
    check_names(service, config)
    allowing(service).check_all(config.mcp, "session")
    detection = config.turn_detection
    if detection is None or service.config.interruption.enabled:
        return config
    return replace(config, turn_detection=replace(detection, interrupt_response=False))


def check_names(service: Service, config: SessionConfig) -> None:
    """
    :raises ProtocolError: a model or a voice means nothing here.
    """
    tuning.check_names(
        config,
        models=[*service.model_names, service_voice(service)],
        voices=(*service.engines.tts.capabilities.voices, service_voice(service)),
        aliases=service.settings.aliases,
    )


def allowing(service: Service) -> Allowing:
    """Which MCP servers clients may name, as it is configured now."""
    return Allowing(service.settings.realtime.mcp, offline=service.config.session.offline)


def service_voice(service: Service) -> str:
    """The name of the configured voice, as clients are told of it."""
    return str(getattr(service.config.tts[0].options, "voice", None) or "default")


def _own(service: Service, id: str, kind: Kind, model: str | None) -> SessionConfig:
    """What the server is configured for; also what `null` restores."""
    workflow = service.config.workflow
    return SessionConfig(
        id=id,
        type=kind,
        model=model or "default",
        instructions=workflow.instructions if workflow.kind == "chat" else "",
        turn_detection=SemanticVad(),  # the configured turn detector, as it is configured
        voice=service_voice(service),
        expires_at=math.ceil(time.time() + service.settings.max_session_s),
    )
