"""The example `bank_transfer.yaml` as whole spoken sessions: no transfer without the caller's yes and the desk's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("agents", reason="needs the package openai-agents")

from bank_parts import RATE_HZ, answered, engines

from antiphon.engines.audio import AudioFrame
from antiphon.engines.testing import run_virtual
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.cli import app
from antiphon.pipeline.config import load_config
from antiphon.pipeline.events import ApprovalEvent, Event
from antiphon.pipeline.policy import ApprovalDesk
from antiphon.pipeline.transports.recording import RecordingTransport, recording_frames

pytestmark = pytest.mark.interop

EXAMPLES = Path(__file__).parents[2] / "examples"
REQUEST = "Transfer 100 euros to Anna."

Supervisor = Callable[[ApprovalEvent, Path], Awaitable[None]]


@dataclass
class Call:
    """What came of one call to the bank."""

    transfers: list[tuple[float, str]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    spoken: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """The assistant's side of the history."""

    def of(self, kind: str) -> list[Any]:
        return [event for event in self.events if event.type == kind]


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Call]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import bank_transfer

    monkeypatch.setattr(bank_transfer, "bank", bank_transfer.Bank())

    def call(
        *answers: tuple[float, str],
        supervisor: Supervisor | None = None,
        paced: bool = True,
        seconds: float = 14.0,
        overrides: Sequence[str] = (),
    ) -> Call:
        """:param answers: what the caller says after the request, and from when on, in seconds."""
        store = tmp_path / "approvals.db"
        config = load_config(
            EXAMPLES / "bank_transfer.yaml", overrides=[f"approvals.store={store}", "approvals.poll_ms=20", *overrides]
        )
        made = engines(
            [(0.5, 1.5), *((at_s, at_s + 0.7) for at_s, _ in answers)],
            {0.0: REQUEST, **{at_s - 0.5: text for at_s, text in answers}},
        )
        found = Call(bank_transfer.bank.transfers)

        async def main() -> None:
            async with Assembly(config, replacements=made) as assembly:
                silence = AudioFrame(np.zeros(round(seconds * RATE_HZ), dtype=np.float32), RATE_HZ)
                transport = RecordingTransport(recording_frames(silence, paced=paced), paced=paced)
                deciding: list[asyncio.Task[None]] = []

                def decide(event: Event) -> None:
                    if (
                        isinstance(event, ApprovalEvent)
                        and event.state == "pending"
                        and "Shall I" not in event.question
                    ):
                        if supervisor is not None:
                            deciding.append(asyncio.ensure_future(supervisor(event, store)))

                session = assembly.session(transport, sinks=[found.events.append, decide])
                await session.run()
                await asyncio.gather(*deciding)
                found.said += [item.text for item in session.conversation if item.role == "assistant" and item.text]

        run_virtual(main())
        found.spoken += [call.text for call in made["tts"].calls]
        return found

    return call


async def by_api(event: ApprovalEvent, store: Path) -> None:
    desk = ApprovalDesk(store)
    await desk.grant(event.approval_id, by="ann")
    desk.close()


async def by_command(event: ApprovalEvent, store: Path) -> None:
    arguments = ["approvals", "grant", event.approval_id, "--by", "ann", "--store", str(store)]
    assert CliRunner().invoke(app, arguments).exit_code == 0


async def refuses(event: ApprovalEvent, store: Path) -> None:
    desk = ApprovalDesk(store)
    await desk.refuse(event.approval_id, by="ann", note="too much")
    desk.close()


@pytest.mark.parametrize("supervisor", [by_api, by_command])
@pytest.mark.parametrize("paced", [True, False], ids=["live", "fast"])
def test_two_yeses_and_the_money_goes_once(phone: Callable[..., Call], supervisor: Supervisor, paced: bool) -> None:
    call = phone((6.0, "Yes, please."), supervisor=supervisor, paced=paced)
    assert call.transfers == [(100, "Anna")]
    assert call.spoken == [
        "Shall I transfer 100 euros to Anna?",
        "One moment please, I have to ask for approval.",
        "100 euros are on their way to Anna.",
    ]
    assert call.said == ["100 euros are on their way to Anna."]
    assert [(event.state, event.by) for event in call.of("approval")] == [
        ("pending", ""), ("granted", "voice"), ("pending", ""), ("granted", "ann"),
    ]  # fmt: skip
    assert [(event.name, event.turn) for event in call.of("tool_call")] == [("make_transfer", 1)]
    assert [(event.turn, event.status) for event in call.of("turn_ended")] == [(1, "completed"), (2, "dismissed")]


def test_a_spoken_no_is_the_end_of_it(phone: Callable[..., Call]) -> None:
    call = phone((6.0, "No, leave it."), supervisor=by_api)
    assert call.transfers == [] and "not done" in call.said[-1]
    assert [event.state for event in call.of("approval")] == ["pending", "refused"], "the desk is not even asked"


def test_the_supervisor_refuses(phone: Callable[..., Call]) -> None:
    call = phone((6.0, "Yes."), supervisor=refuses)
    assert call.transfers == [] and "not done" in call.said[-1]
    assert call.of("approval")[-1].by == "ann"


def test_nobody_is_at_the_desk(phone: Callable[..., Call]) -> None:
    call = phone((6.0, "Yes."), overrides=["policy.tool_call.1.wait_s=0.3"])
    assert call.transfers == [] and call.of("approval")[-1].by == "timeout"
    assert "not done" in call.said[-1]


@pytest.mark.parametrize("paced", [True, False], ids=["live", "fast"])
def test_a_caller_who_says_nothing_more_has_not_said_yes(phone: Callable[..., Call], paced: bool) -> None:
    call = phone(supervisor=by_api, paced=paced)
    assert call.transfers == []
    assert [event.state for event in call.of("approval")] == ["pending", "refused"]
    assert "not done" in call.said[-1]


def test_words_into_the_question_are_its_answer_and_stop_nothing(phone: Callable[..., Call]) -> None:
    call = phone((2.4, "Yes, go ahead."), supervisor=by_api)
    assert call.transfers == [(100, "Anna")]
    assert not call.of("interrupted")


def test_words_that_are_no_answer_are_asked_about_once_and_then_answered_themselves(
    phone: Callable[..., Call],
) -> None:
    call = phone((6.0, "What is the weather?"), (9.0, "Tell me a joke."), supervisor=by_api, seconds=18.0)
    assert call.transfers == []
    assert call.spoken[:2] == ["Shall I transfer 100 euros to Anna?", "Sorry, was that a yes or a no?"]
    assert [event.state for event in call.of("approval")] == ["pending", "refused"]
    assert call.said[-1] == "What can I do for you?"


def test_who_speaks_while_the_desk_is_asked_calls_it_off(phone: Callable[..., Call]) -> None:
    late: list[str] = []

    async def slow(event: ApprovalEvent, store: Path) -> None:
        await asyncio.sleep(8.0)
        desk = ApprovalDesk(store)
        late.append((await desk.get(event.approval_id)).state)
        desk.close()

    call = phone((6.0, "Yes."), (10.0, "Stop, I have changed my mind."), supervisor=slow, seconds=20.0)
    assert late == ["cancelled"] and call.transfers == []
    assert [event.state for event in call.of("approval")] == ["pending", "granted", "pending", "cancelled"]
    assert [(event.turn, event.status) for event in call.of("turn_ended")] == [
        (2, "dismissed"), (1, "interrupted"), (3, "completed"),
    ]  # fmt: skip


def test_the_scripted_agent_asks_for_what_the_example_has() -> None:
    assert json.loads(answered(_Asked()).tool_calls[0].arguments) == {"amount": 100, "to": "Anna"}


class _Asked:
    @dataclass
    class Said:
        role: str = "user"
        content: str = REQUEST

    messages = (Said(),)
