"""What real sessions tell of themselves is enough: the store's conversation is the session's own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sessions import Rig
from transcript_events import sqlite_store, tell

from antiphon.engines.errors import EngineFailed
from antiphon.engines.protocols import EndpointPolicy
from antiphon.engines.testing import Heard, Reply, run_virtual
from antiphon.pipeline.conversation import Conversation
from antiphon.pipeline.session_settings import SessionSettings
from antiphon.pipeline.workflow import ToolCall, ToolResult, TurnContext

LONG = "One two three four five six seven eight nine ten eleven twelve."


def by_time(first: str, second: str) -> Any:
    return lambda call: Heard(first if call.audio.start_s < 1.0 else second, 0.05)


def count(call: Any) -> Reply:
    return Reply([LONG]) if call.messages[-1].content == "Count." else Reply(["All right."])


class Clock:
    """A workflow that calls a tool."""

    speculative = True

    async def respond(self, turn: TurnContext) -> Any:
        await turn.committed()
        yield ToolCall("1", "clock", '{"zone": "here"}')
        yield ToolResult("1", "clock", "noon")
        yield "It is noon."


SCENES: dict[str, Any] = {
    "two turns": lambda: Rig(
        [(0.5, 1.5), (5.0, 6.0)],
        seconds=9.0,
        stt=by_time("Hello?", "And now?"),
        llm=[Reply(["Hi. ", "There."]), Reply(["Now too."])],
    ),
    "a greeting": lambda: Rig(
        [(3.0, 4.0)],
        seconds=7.0,
        stt=[Heard("Hello?")],
        llm=[Reply(["Hi."])],
        settings=SessionSettings(on_error="", greeting="Welcome."),
    ),
    "an interruption": lambda: Rig(
        [(0.5, 1.5), (3.0, 4.2)], seconds=10.0, stt=by_time("Count.", "No, wait a moment."), llm=count
    ),
    "a back-channel": lambda: Rig([(0.5, 1.5), (3.0, 3.5)], seconds=10.0, stt=by_time("Count.", "uh-huh"), llm=count),
    "a model that breaks": lambda: Rig(
        [(0.5, 1.5)],
        seconds=6.0,
        stt=[Heard("Hello?")],
        llm=[Reply(["I begin. ", "And I ", "never end."], delta_delay_s=0.5, error_after=2)],
    ),
    "an ear that breaks": lambda: Rig([(0.5, 1.5)], seconds=6.0, stt=lambda call: EngineFailed("deaf")),
    "a turn that is reopened": lambda: Rig(
        [(0.5, 1.5), (1.9, 3.0)],
        seconds=6.0,
        policy=EndpointPolicy(silence_ms=200),
        stt=[Heard("I would like"), Heard("I would like a tea.")],
        llm=[Reply.of("What is it that you would like to have now?"), Reply(["Tea."])],
    ),
    "a tool": lambda: Rig([(0.5, 1.5)], seconds=5.0, stt=[Heard("What time is it?")], workflow=Clock()),
}


def said(conversation: Conversation) -> list[tuple[str, str, str, bool]]:
    return [
        (item.role, item.text, item.unheard, item.interrupted)
        for item in conversation
        if item.kind == "message" and (item.text or item.unheard)
    ]


@pytest.mark.parametrize("scene", SCENES)
def test_the_store_knows_the_conversation_that_the_session_had(scene: str, tmp_path: Path) -> None:
    rig: Rig = run_virtual(SCENES[scene]().run())

    async def write() -> None:
        recorder = store.recorder(rig.session.id)
        tell(recorder, *rig.events)
        await recorder.aclose()

    with sqlite_store(tmp_path) as store:
        asyncio.run(write())
        assert said(store.conversation(rig.session.id)) == said(rig.session.conversation)
        views = store.turns(rig.session.id)
    ended = {event.turn: event.status for event in rig.of("turn_ended")}  # type: ignore[attr-defined]
    assert {view.turn: view.status for view in views if view.turn in ended} == ended
    if scene == "a back-channel":
        assert [(view.user, view.status) for view in views[1:]] == [("uh-huh", "dismissed")]
    assert said(rig.session.conversation) or scene == "an ear that breaks"


def test_the_scenes_are_what_they_are_called(tmp_path: Path) -> None:
    types = {name: set(run_virtual(make().run()).types) for name, make in SCENES.items()}
    assert "interrupted" in types["an interruption"] and "error" in types["a model that breaks"]
    assert "dropped" in types["a turn that is reopened"] and "tool_result" in types["a tool"]
    assert "playback_resumed" in types["a back-channel"]
