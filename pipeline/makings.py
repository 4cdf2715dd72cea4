"""All that a session is made of, besides those who watch it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from antiphon.engines.audio import AudioFrame
from antiphon.pipeline.conversation import Conversation, new_id
from antiphon.pipeline.front import Front, NoFront
from antiphon.pipeline.guarding import Guarding
from antiphon.pipeline.session_settings import Engines, SessionSettings, TextTools
from antiphon.pipeline.transports.base import Transport
from antiphon.pipeline.workflow import Workflow


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Makings:
    """One set per session; its parts take from it what they need."""

    engines: Engines
    transport: Transport
    workflow: Workflow
    text: TextTools
    settings: SessionSettings = field(default_factory=SessionSettings)
    session_id: str = field(default_factory=partial(new_id, "sess"))
    conversation: Conversation = field(default_factory=Conversation)
    """What was said before; what is said is added to it."""
    guarding: Guarding = field(default_factory=Guarding)
    """The record and the policy around answers."""
    front: Front = field(default_factory=NoFront)
    """Shows a client the conversation while it is made."""
    prepared: Mapping[str, Sequence[AudioFrame]] = field(default_factory=dict)
    """The session's own lines (`on_error` and the like) as audio made beforehand, by their text: they can be said when
    the TTS is what broke."""
