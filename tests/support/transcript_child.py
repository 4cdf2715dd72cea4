"""A process that talks, acts, and is killed; and the process that kills it.

Run as a script it is the nursery: it reads one JSON object a line from standard input, forks a child for each, kills
that with SIGKILL at the moment that the object names, and answers with one line. The child writes what it really did
to a journal of its own (one `write` a line, O_APPEND), which the test compares with the transcript store.

The child's session is the real one, or a stand-in that does with its recorder what a session does: :data:`SESSIONS`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import select
import signal
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transcript_events import Talk

from antiphon.pipeline.events import Event, Spoken, TranscriptEvent
from antiphon.pipeline.transcript import Recorder, TranscriptStore, open_store
from antiphon.pipeline.transcript.writer import Writer

STAGES = (
    "opening", "begun", "hearing", "final_noted", "acting", "call_noted", "tool_runs", "tool_returned", "result_noted",
    "text_noted", "playing", "spoken", "cut_off", "turn_over", "over",
)  # fmt: skip
"""Where a child can be killed. Each comes once a turn, but for the first two and the last."""
TURNS = 3


@dataclass(frozen=True, slots=True)
class Journal:
    """What the child did, told by itself, past the store."""

    file: int
    pipe: int

    def did(self, what: str, **facts: Any) -> None:
        os.write(self.file, (json.dumps({"did": what, **facts}) + "\n").encode())

    def stage(self, name: str) -> None:
        os.write(self.pipe, (name + "\n").encode())


@dataclass(slots=True)
class Scene:
    """One child's task."""

    recorder: Recorder
    journal: Journal
    chance: random.Random
    session: str
    settled: Callable[[], Awaitable[None]]

    async def pause(self) -> None:
        await asyncio.sleep(self.chance.choice((0.0, 0.0, 0.001, 0.003)))


async def stand_in(scene: Scene) -> None:
    """What a session does around its recorder: the three barriers, and what happens between them."""
    talk = Talk(scene.session)
    for turn in range(1, TURNS + 1):
        scene.journal.stage("hearing")
        question = f"question {turn} of {scene.session}?"
        for event in talk.asks(question, turn):
            scene.recorder(event)
            await scene.pause()
        scene.journal.stage("final_noted")
        await scene.settled()  # barrier: before the workflow may have an effect
        scene.journal.did("acted", turn=turn, text=question)
        scene.journal.stage("acting")
        await scene.pause()
        for number in range(scene.chance.choice((1, 1, 2))):
            await _call_a_tool(scene, talk, turn, number)
        said = await _speak(scene, talk, turn)
        if scene.chance.random() < 0.3:
            scene.journal.stage("cut_off")
            scene.recorder(talk.make(TranscriptEvent, turn, role="assistant", text=said, final=True))
            scene.recorder(talk.ends(f"{said}and much more", turn, status="interrupted"))
        else:
            scene.recorder(talk.make(TranscriptEvent, turn, role="assistant", text=said, final=True))
            scene.recorder(talk.ends(said, turn))
        scene.journal.stage("turn_over")
        await scene.pause()


async def _call_a_tool(scene: Scene, talk: Talk, turn: int, number: int) -> None:
    call = {"turn": turn, "call_id": f"call_{number}"}
    scene.recorder(talk.calls("pay", json.dumps({"amount": turn}), turn, call["call_id"]))
    scene.journal.stage("call_noted")
    await scene.settled()  # barrier: before the tool runs
    scene.journal.did("tool_ran", **call)
    scene.journal.stage("tool_runs")
    await scene.pause()
    scene.journal.did("tool_returned", **call)
    scene.journal.stage("tool_returned")
    scene.recorder(talk.gives("paid", "pay", turn, call["call_id"]))
    scene.journal.stage("result_noted")


async def _speak(scene: Scene, talk: Talk, turn: int) -> str:
    said = ""
    for number in range(scene.chance.choice((1, 2, 3))):
        piece = f"piece {number} of answer {turn}. "
        scene.recorder.note_speaking(piece, turn=turn)
        scene.journal.stage("text_noted")
        await scene.settled()  # barrier: before the audio is handed over
        scene.journal.did("played", turn=turn, text=piece)
        scene.journal.stage("playing")
        await scene.pause()
        event: Event = talk.make(Spoken, turn, text=piece)
        scene.recorder(event)
        scene.journal.stage("spoken")
        said += piece
    return said


async def real_session(scene: Scene) -> None:
    from transcript_real_session import real

    await real(scene, TURNS)


SESSIONS: Mapping[str, Callable[[Scene], Awaitable[None]]] = {"stand_in": stand_in, "real": real_session}
"""By name. The stand-in does with its recorder what a session does, and comes to more stages; the real one is real."""


async def nothing() -> None:
    """No barrier at all: what the test must find out."""


async def child(task: Mapping[str, Any], journal: Journal) -> None:
    journal.stage("opening")
    with closing(_store(task)) as store:
        if task.get("lazy_ms"):
            _make_lazy(store, task["lazy_ms"] / 1000)
        earlier = task.get("resumes")
        if earlier is not None:
            known = [item.text for item in store.conversation(earlier)]
            journal.did("knows", items=known, in_doubt=[call.call_id for call in store.in_doubt(earlier)])
        recorder = store.recorder(task["session"], resumed_from=earlier)
        journal.stage("begun")
        settled = recorder.settled if task.get("barriers", True) else nothing
        scene = Scene(recorder, journal, random.Random(task["seed"]), task["session"], settled)
        await SESSIONS[task.get("kind", "stand_in")](scene)
        journal.stage("over")
        await recorder.aclose()
        journal.did("closed")


def _store(task: Mapping[str, Any]) -> TranscriptStore:
    return open_store(task["store"], path=Path(task["path"]), recordings=Path(task["path"]).parent / "recordings")


def _make_lazy(store: TranscriptStore, seconds: float) -> None:
    """A disk that takes its time."""
    write = store.database.write

    def slow(rows: Any) -> Any:
        time.sleep(seconds)
        return write(rows)

    store._writer = Writer(slow)
    store._writer.start()


# ------------------------------------------------------------------------------------------ the nursery


def raise_and_kill(task: Mapping[str, Any]) -> dict[str, Any]:
    """Fork a child and kill it at its moment: when `stage` has come for the `nth` time, and `after_ms` later."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        code = 1
        try:
            file = os.open(task["journal"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            asyncio.run(child(task, Journal(file, writer)))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    killed = _kill_at(pid, reader, task)
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    return {
        "killed": killed and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
        "code": os.waitstatus_to_exitcode(status),
    }


def _kill_at(pid: int, reader: int, task: Mapping[str, Any]) -> bool:
    stage, left = task.get("stage"), task.get("nth", 1)
    seen = b""
    while True:
        ready, _, _ = select.select([reader], [], [], 30)
        data = os.read(reader, 65536) if ready else b""
        if not data:
            return False  # it is over, or hangs (then waitpid would too)
        *lines, seen = (seen + data).split(b"\n")
        left -= sum(1 for line in lines if stage is not None and line.decode() == stage)
        if stage is not None and left <= 0:
            time.sleep(task.get("after_ms", 0.0) / 1000)
            os.kill(pid, signal.SIGKILL)
            return True


def main() -> None:
    import alembic.runtime.environment  # noqa: F401 (before the first fork: each child is quick)
    import transcript_real_session  # noqa: F401

    from antiphon.pipeline.transcript import database, erasure, queries  # noqa: F401

    for line in sys.stdin:
        sys.stdout.write(json.dumps(raise_and_kill(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
