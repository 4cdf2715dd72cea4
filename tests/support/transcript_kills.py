"""Kills processes at seeded moments, and compares what they did with what the store knows."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transcript_child import STAGES, TURNS

from antiphon.pipeline.transcript import TranscriptStore, UnknownSession, open_store
from antiphon.pipeline.transcript.reading import UNKNOWN_RESULT

SUPPORT = Path(__file__).parent
ONCE = frozenset({"opening", "begun", "over"})


class Nursery:
    """Asks the nursery process to raise and kill children."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def raise_and_kill(self, **task: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the nursery died"
        return dict(json.loads(answer))


@contextmanager
def nursery() -> Iterator[Nursery]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(
        [sys.executable, str(SUPPORT / "transcript_child.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            yield Nursery(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30)


@dataclass
class Kills:
    """A series of kills on one store."""

    folder: Path
    store: str = "sqlite"
    missing: list[str] = field(default_factory=list)
    """What was done and is not on record, and the like."""
    stages: Counter[str] = field(default_factory=Counter)
    """How often a child was killed at a stage."""
    finished: int = 0
    """Children that were done before they could be killed."""
    doubtful: int = 0
    """Calls that were left in doubt."""
    did: Counter[str] = field(default_factory=Counter)

    def run(self, seeds: range, **options: Any) -> Kills:
        with nursery() as nursed:
            for seed in seeds:
                self._one(nursed, seed, options)
        return self

    def _one(self, nursed: Nursery, seed: int, options: dict[str, Any]) -> None:
        chance = random.Random(seed)
        stage = STAGES[seed % len(STAGES)]
        fresh = stage == "opening" and self.store == "sqlite"
        path = self.folder / (f"fresh_{seed}.db" if fresh else "all.db")
        task = {
            "store": self.store,
            "path": str(path),
            "journal": str(self.folder / f"journal_{seed}"),
            "session": f"sess_{seed}",
            "seed": seed,
            "stage": stage,
            "nth": 1 if stage in ONCE else chance.randint(1, TURNS),
            "after_ms": chance.choice((0.0, 0.0, chance.uniform(0, 2), chance.uniform(0, 12))),
            **options,
        }
        if fresh:
            task["after_ms"] = chance.uniform(0, 60)  # somewhere in the migrations
        ended = nursed.raise_and_kill(**task)
        if ended["killed"]:
            self.stages[stage] += 1
        else:
            self.finished += 1
            if ended["code"] != 0:
                self.missing.append(f"seed {seed}: the child failed with code {ended['code']}")
        with open_store(self.store, path=path, recordings=self.folder / "recordings") as store:
            self._check(store, task)
        if seed % 5 == 0:
            self._resume(nursed, task)

    def _resume(self, nursed: Nursery, task: dict[str, Any]) -> None:
        """Another process goes on: it knows what was said, and runs no doubtful tool again."""
        with open_store(self.store, path=Path(task["path"]), recordings=self.folder / "recordings") as store:
            try:
                turns = store.turns(task["session"])
            except UnknownSession:
                return
            doubtful = [call.call_id for call in store.in_doubt(task["session"])]
        again = {**task, "session": f"{task['session']}_again", "journal": f"{task['journal']}_again"}
        again |= {"resumes": task["session"], "stage": None}
        ended = nursed.raise_and_kill(**again)
        (known,) = (done for done in journal(Path(again["journal"])) if done["did"] == "knows")
        said = "\n".join(known["items"])
        wanted = [text for turn in turns for text in (turn.user, turn.heard) if text]
        self._expect(ended["code"] == 0, task, "the resumed session failed")
        self._expect(all(text in said for text in wanted), task, "the resumed session does not know all that was said")
        self._expect(known["in_doubt"] == doubtful, task, "other calls are in doubt after resuming")
        self._expect(said.count(UNKNOWN_RESULT) == len(doubtful), task, "the agent does not know of a call in doubt")

    def _check(self, store: TranscriptStore, task: dict[str, Any]) -> None:
        session = task["session"]
        done = journal(Path(task["journal"]))
        self.did.update(one["did"] for one in done)
        try:
            records, turns = store.records(session), {turn.turn: turn for turn in store.turns(session)}
        except UnknownSession:
            self._expect(not done, task, "the session is not on record, and did something")
            return
        numbers = sorted({record.seq for record in records})
        self._expect(numbers == list(range(1, len(numbers) + 1)), task, "a record is missing between others")
        recorded = [(c.turn, c.call_id, c.in_doubt) for turn in turns.values() for c in turn.calls]
        returned = {(one["turn"], one["call_id"]) for one in done if one["did"] == "tool_returned"}
        for turn, call_id, in_doubt in recorded:
            self._expect(in_doubt or (turn, call_id) in returned, task, "a result is on record that never was")
        calls = {(turn, call_id) for turn, call_id, _ in recorded}
        for one in done:
            view = turns.get(one.get("turn", -1))
            match one["did"]:
                case "acted":
                    self._expect(view is not None and view.user == one["text"], task, f"acted on: {one}")
                case "tool_ran":
                    self._expect((one["turn"], one["call_id"]) in calls, task, f"ran: {one}")
                case "played":
                    self._expect(view is not None and one["text"] in view.heard, task, f"played: {one}")
        doubtful = [(call.turn, call.call_id) for call in store.in_doubt(session)]
        self._expect(
            doubtful == [(turn, call_id) for turn, call_id, doubt in recorded if doubt], task, "in_doubt() is wrong"
        )
        self.doubtful += len(doubtful)
        if store.database.is_sqlite:
            with store.database.reading() as connection:
                state = connection.exec_driver_sql("PRAGMA quick_check").scalar()
            self._expect(state == "ok", task, f"the database is damaged: {state}")

    def _expect(self, holds: bool, task: dict[str, Any], what: str) -> None:
        if not holds:
            place = f"{task['stage']} {task['nth']} +{task['after_ms']:.1f} ms"
            self.missing.append(f"seed {task['seed']} ({place}): {what}")


def journal(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.endswith("}")]
