"""What `antiphon run` prints of a conversation."""

from __future__ import annotations

import io

from rich.console import Console

from antiphon.pipeline.cli.show import Conversation
from antiphon.pipeline.events import Interrupted, TranscriptEvent, TurnEnded

AT = {"t_s": 1.0, "audio_s": 1.0, "session": "s", "revision": 0}


def shown(*events: TranscriptEvent | Interrupted | TurnEnded) -> tuple[str, Conversation]:
    out = io.StringIO()
    conversation = Conversation(Console(file=out, width=80, no_color=True), waterfalls=False)
    for event in events:
        conversation.on_event(event)
    return out.getvalue(), conversation


def test_what_was_heard_of_an_interrupted_reply_and_what_was_not() -> None:
    text, conversation = shown(
        TranscriptEvent(turn=1, role="user", text="Tell me a story.", final=True, **AT),  # type: ignore[arg-type]
        TranscriptEvent(turn=1, role="assistant", text="Once upon", final=True, **AT),  # type: ignore[arg-type]
        Interrupted(turn=1, heard="Once upon", unheard=" a time.", **AT),  # type: ignore[arg-type]
        TurnEnded(turn=1, status="interrupted", **AT),  # type: ignore[arg-type]
    )
    assert "Once upon" in text
    assert "(interrupted; not heard: a time.)" in text
    (turn,) = conversation.turns
    assert (turn.status, turn.assistant, turn.unheard) == ("interrupted", "Once upon", " a time.")


def test_a_later_word_of_the_client_corrects_what_is_kept_and_prints_nothing() -> None:
    events = (
        Interrupted(turn=1, heard="Once upon", unheard=" a time.", **AT),  # type: ignore[arg-type]
        TurnEnded(turn=1, status="interrupted", **AT),  # type: ignore[arg-type]
    )
    before, _ = shown(*events)
    again = Interrupted(turn=1, heard="Once", unheard=" upon a time.", acknowledged=True, **AT)  # type: ignore[arg-type]
    after, conversation = shown(*events, again)
    assert after == before
    assert conversation.turns[0].assistant == "Once"


def test_a_backchannel_is_no_turn() -> None:
    text, conversation = shown(TurnEnded(turn=2, status="dismissed", **AT))  # type: ignore[arg-type]
    assert "said into the reply" in text
    assert conversation.turns == []
