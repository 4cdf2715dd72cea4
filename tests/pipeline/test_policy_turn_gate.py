"""The gate on the whole turn: what it leaves is what history keeps, also of an answer that was interrupted."""

from __future__ import annotations

from typing import Any

import pytest
from sessions import Rig

from antiphon.engines.testing import Heard, Reply, run_virtual
from antiphon.pipeline.config import InvalidConfig, load_config
from antiphon.pipeline.guarding import Guarding
from antiphon.pipeline.policy import Ask, Block, BoundCheck, Policy, as_check
from antiphon.pipeline.policy.verdicts import Rewrite, Subject
from antiphon.pipeline.session_settings import SessionSettings

LONG = "One card 4111 three four five six seven eight nine ten eleven twelve."


def talk(check: Any, *, speech: Any = ((0.5, 1.5), (3.5, 4.7))) -> Rig:
    bound = BoundCheck("check", as_check(check), 5.0, "open", "")
    rig = Rig(
        list(speech),
        seconds=10.0,
        stt=lambda call: Heard("Count." if call.audio.start_s < 1.0 else "No, wait a moment.", 0.05),
        llm=lambda call: Reply([LONG if call.messages[-1].content == "Count." else "All right."]),
        settings=SessionSettings(on_error=""),
        guarding=Guarding(policy=Policy(turn=(bound,))),
    )
    run_virtual(rig.run())
    return rig


def test_of_an_interrupted_answer_history_keeps_what_was_heard_as_the_gate_leaves_it() -> None:
    judged: list[str] = []

    def hide(subject: Subject) -> Any:
        judged.append(subject.text)
        return Rewrite(subject.text.replace("4111", "[card]"))

    rig = talk(hide)
    heard = judged[0]
    assert heard and LONG.startswith(heard) and len(heard) < len(LONG), "what was heard is judged, and no more"
    assert rig.said[0] == heard.replace("4111", "[card]")
    item = next(item for item in rig.session.conversation if item.role == "assistant")
    assert item.interrupted and item.unheard == ""
    (event,) = rig.of("interrupted")
    assert (event.heard, event.unheard) == (rig.said[0], "")  # type: ignore[attr-defined]
    assert rig.llm.calls[-1].messages[-2].content == f"{rig.said[0]} ..."
    assert not any("4111" in message.content for message in rig.llm.calls[-1].messages)


def test_a_client_that_tells_more_exactly_what_was_heard_brings_nothing_back() -> None:
    rig = talk(lambda subject: Rewrite("(removed)"))
    rig.session.played(1, 0.9)
    assert rig.said[0] == "(removed)"


def test_a_blocked_answer_leaves_its_line_alone() -> None:
    rig = talk(lambda subject: Block("(kept back)"))
    assert rig.said[0] == "(kept back)"


def test_nobody_is_asked_about_what_was_said() -> None:
    rig = talk(lambda subject: Ask("May it stay?", line="(not approved)"), speech=[(0.5, 1.5)])
    assert rig.said == ["(not approved)"] and not rig.of("approval")
    assert [event.decision for event in rig.of("policy")] == ["ask", "refused"]  # type: ignore[attr-defined]


def test_approve_at_this_gate_is_refused_when_the_configuration_is_loaded(tmp_path: Any) -> None:
    file = tmp_path / "asks.yaml"
    file.write_text("extends: local.yaml\npolicy:\n  turn:\n    - approve\n", encoding="utf-8")
    with pytest.raises(InvalidConfig) as caught:
        load_config(file)
    assert "policy.turn" in str(caught.value) and "policy.speech.checks" in str(caught.value)
