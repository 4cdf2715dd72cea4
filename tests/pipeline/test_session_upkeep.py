"""A long conversation is shortened while nobody speaks: whole sessions on a virtual clock."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted_config import Script
from sessions import Rig

from antiphon.engines.audio import AudioFrame
from antiphon.engines.host import Meter, Priority, current_ticket
from antiphon.engines.testing import Heard, Reply, run_virtual
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config import load_config
from antiphon.pipeline.config.model import TranscriptConfig
from antiphon.pipeline.conversation import Conversation, Item, new_id
from antiphon.pipeline.guarding import Guarding
from antiphon.pipeline.transcript import Compactor, llm_summariser, open_store
from antiphon.pipeline.transports.recording import RecordingTransport, recording_frames

TURNS = 12
EVERY_S = 6.0
RATE_HZ = 16000


class Memory:
    """Upkeep that takes its time, and is due from the second turn on."""

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s
        self.begun_s: list[float] = []
        self.done_s: list[float] = []
        self.broken_off_s: list[float] = []

    def is_due(self) -> bool:
        return not self.done_s

    async def compact(self) -> bool:
        loop = asyncio.get_running_loop()
        self.begun_s.append(loop.time())
        try:
            await asyncio.sleep(self.takes_s)
        except asyncio.CancelledError:
            self.broken_off_s.append(loop.time())
            raise
        self.done_s.append(loop.time())
        return True


def talk(memory: Memory, turns: int, **more: Any) -> Rig:
    speech = [(0.5 + EVERY_S * turn, 1.5 + EVERY_S * turn) for turn in range(turns)]
    rig = Rig(
        speech,
        seconds=turns * EVERY_S + 2,
        stt=lambda call: Heard("Hello?", 0.05),
        llm=lambda call: Reply.of("Hi."),
        guarding=Guarding(upkeep=memory),
        **more,
    )
    run_virtual(rig.run())
    return rig


def test_it_runs_in_the_quiet_and_never_beside_an_answer() -> None:
    memory = Memory(takes_s=1.0)
    rig = talk(memory, 2)
    assert memory.begun_s[0] < rig.of("speech_started")[0].t_s, "a session that goes on with a long one need not wait"
    (done_s,) = memory.done_s
    first, second = rig.of("turn_ended")[0].t_s, rig.of("speech_started")[1].t_s
    assert first < done_s < second


def test_the_user_breaks_it_off_and_the_next_quiet_moment_begins_it_anew() -> None:
    memory = Memory(takes_s=4.0)
    rig = talk(memory, 3)
    spoke_s = [event.t_s for event in rig.of("speech_started")]
    ended_s = [event.t_s for event in rig.of("turn_ended")]
    assert memory.broken_off_s == pytest.approx(spoke_s[: len(memory.broken_off_s)], abs=1e-6)
    assert memory.begun_s[1] == pytest.approx(ended_s[0], abs=0.05), "as soon as the answer was heard"
    assert [event.status for event in rig.of("turn_ended")] == ["completed"] * 3


def test_a_user_who_leaves_no_time_is_not_waited_for_for_ever() -> None:
    memory = Memory(takes_s=20.0)
    rig = talk(memory, 8)
    assert len(memory.broken_off_s) == 3 and len(memory.done_s) == 1
    assert [event.status for event in rig.of("turn_ended")] == ["completed"] * 8


def test_the_end_of_the_session_ends_it() -> None:
    memory = Memory(takes_s=1000.0)
    talk(memory, 1)
    assert memory.broken_off_s and not memory.done_s


def test_a_broken_one_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Memory):
        async def compact(self) -> bool:
            self.done_s.append(0.0)
            raise RuntimeError("no")

    rig = talk(Broken(0.0), 1)
    assert "a session's upkeep broke" in caplog.text
    assert [event.status for event in rig.of("turn_ended")] == ["completed"]


# ------------------------------------------------------------------------ with the real compactor


def long_talk(folder: Path, *, paced: bool, tools: bool = False, **workflow: Any) -> dict[str, Any]:
    """Twelve turns with room for eight in the prompt, recorded; then a session that goes on with it."""
    asked: list[tuple[str, Priority]] = []

    def answer(call: Any) -> Reply:
        asked.append((call.session_key, current_ticket.get().priority))
        if call.session_key.endswith("/summary"):
            return Reply(["They have ", f"counted to {call.messages[-1].content.count('User:')}."], delta_delay_s=0.2)
        return Reply.of(f"That was {call.messages[-1].content}")

    speech = [(0.5 + EVERY_S * turn, 1.5 + EVERY_S * turn) for turn in range(TURNS)]
    script = Script(speech=speech, stt=lambda call: Heard(f"number {1 + round(call.audio.start_s // EVERY_S)}.", 0.05))
    script.llm_engine = type(script.llm_engine)(answer)
    script.tts_engine = type(script.tts_engine)(repeat=True)
    script.workflow = {"history_turns": 8, **workflow}
    config = script.config(transcript=TranscriptConfig(store="sqlite", path=folder / "t.db"))
    result: dict[str, Any] = {"asked": asked, "llm": script.llm_engine}

    async def main() -> None:
        async with Assembly(config) as assembly:
            silence = AudioFrame(np.zeros(round(TURNS * EVERY_S * RATE_HZ), dtype=np.float32), RATE_HZ)
            transport = RecordingTransport(recording_frames(silence, paced=paced), paced=paced)
            session = assembly.session(transport)
            await session.run()
            result["session"] = session
            result["recalled"] = await assembly.recalled(session.id)

    run_virtual(main())
    return result


@pytest.mark.parametrize("paced", [True, False], ids=["live", "fast"])
def test_a_long_session_is_shortened_and_prompts_go_on_beginning_as_they_did(tmp_path: Path, paced: bool) -> None:
    found = long_talk(tmp_path, paced=paced)
    items: list[Item] = list(found["session"].conversation)
    assert items[0].text.startswith("(Summary of our conversation until now: They have counted to")
    assert len(found["session"].conversation.messages(max_turns=8)) == len(items), "nothing is left out"
    summaries = [priority for key, priority in found["asked"] if key.endswith("/summary")]
    assert summaries and set(summaries) == {Priority.PREFILL}, "behind everything that a user waits for"
    prompts = [call.messages for call in found["llm"].calls if not call.session_key.endswith("/summary")]
    prompts = [prompt for prompt in prompts if prompt[-1].role == "user"]
    changes = 0
    for before, after in itertools.pairwise(prompts):
        head = [message.content for message in before[:-1]]
        changes += [message.content for message in after[: len(head)]] != head
    assert changes <= len(summaries), "a prompt begins otherwise only where a summary took the place of old turns"
    assert [(item.role, item.text) for item in found["recalled"]] == [(item.role, item.text) for item in items]


def test_it_can_be_turned_off(tmp_path: Path) -> None:
    found = long_talk(tmp_path, paced=False, compaction=False)
    assert not [key for key, _ in found["asked"] if key.endswith("/summary")]
    assert sum(item.role == "user" for item in found["session"].conversation) == TURNS


def test_the_store_keeps_every_word(tmp_path: Path) -> None:
    found = long_talk(tmp_path, paced=False)
    with open_store("sqlite", path=tmp_path / "t.db") as store:
        assert [view.user for view in store.turns(found["session"].id)] == [f"number {n}." for n in range(1, TURNS + 1)]


def test_a_finished_recording_is_answered_before_anything_is_shortened() -> None:
    memory = Memory(takes_s=50.0)
    rig = talk(memory, 2, paced=False)
    first, second = rig.of("turn_ended")
    assert memory.begun_s[0] == pytest.approx(first.t_s, abs=0.1), "not before the first answer"
    assert memory.done_s[0] < second.t_s


@pytest.mark.real
@pytest.mark.timeout(900)
def test_a_small_model_writes_the_summary() -> None:
    async def main() -> None:
        conversation = Conversation()
        for turn in range(1, 11):
            for role, text in (("user", f"My number is {turn}."), ("assistant", f"I will remember {turn}.")):
                conversation.add(Item(id=new_id(), role=role, text=text, turn=turn))  # type: ignore[arg-type]
        spent: list[Meter] = []
        async with Assembly(load_config("tiny.yaml"), text_only=True) as assembly:
            assert assembly.llm is not None
            summarise = llm_summariser(assembly.llm, "s", max_tokens=40, on_used=spent.append)
            compactor = Compactor(conversation, summarise, max_turns=10, max_tokens=1500)
            assert compactor.is_due() and await compactor.compact()
        first, *rest = conversation
        assert first.text.startswith("(Summary of our conversation until now: ") and len(first.text) > 60
        assert [item.turn for item in rest] == [7, 7, 8, 8, 9, 9, 10, 10]
        ((stage, engine, unit),) = [key for key in spent[0].uses if key[2] == "output_tokens"]
        assert (stage, engine) == ("llm", "llama_cpp:smollm2-135m-instruct") and spent[0].uses[stage, engine, unit] > 5

    asyncio.run(main())
