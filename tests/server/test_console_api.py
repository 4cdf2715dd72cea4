"""The console's files and calls: what is served, to whom, and what is refused."""

from __future__ import annotations

import asyncio
import atexit
import base64
import functools
import json
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from served import config
from transcript_events import Talk

from antiphon.engines.audio import AudioFrame
from antiphon.pipeline.config import Config
from antiphon.pipeline.config.model import TranscriptConfig
from antiphon.pipeline.config.policy import ApprovalKeys
from antiphon.pipeline.policy.verdicts import ApprovalRequest
from antiphon.pipeline.transcript import RecordingKey, open_store, start_recording
from antiphon.pipeline.transcript.recording import FlacSink
from antiphon.server.app import create_app
from antiphon.server.console.audio import Tickets
from antiphon.server.console.files import FOLDER, Files
from antiphon.server.service import Service

Client = httpx2.AsyncClient


@asynccontextmanager
async def console(given: Config | None = None) -> AsyncIterator[tuple[Client, Service]]:
    service = Service(given or config())
    async with service:
        await service.load()
        transport = httpx2.ASGITransport(app=create_app(service), client=("127.0.0.1", 50000))
        async with Client(transport=transport, base_url="http://127.0.0.1") as client:
            yield client, service


def asked(use: Callable[[Client, Service], Awaitable[Any]], given: Config | None = None) -> Any:
    async def main() -> Any:
        async with console(given) as (client, service):
            return await use(client, service)

    return asyncio.run(main())


# -------------------------------------------------------------------------------------------- the files


def test_every_file_of_the_page_is_served_with_its_type_and_a_strict_policy() -> None:
    async def use(client: Client, service: Service) -> None:
        for name in ("", *Files().names):
            answer = await client.get(f"/console/{name}")
            assert answer.status_code == 200, name
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy and "script-src 'self';" in policy and "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy and "trusted-types 'none'" in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-cache"
            wanted = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
            assert answer.headers["content-type"].startswith(wanted.get(Path(name).suffix, "text/html"))
            again = await client.get(f"/console/{name}", headers={"If-None-Match": f'W/{answer.headers["etag"]}, "x"'})
            assert again.status_code == 304 and not again.content
            assert (await client.head(f"/console/{name}")).headers["etag"] == answer.headers["etag"]

    asked(use)


def test_a_page_of_before_an_upgrade_knows_that_it_is_one(tmp_path: Path) -> None:
    (tmp_path / "js").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>", "utf-8")
    (tmp_path / "js" / "main.js").write_text("let a;", "utf-8")
    before = Files(tmp_path).edition
    assert Files(tmp_path).edition == before
    (tmp_path / "js" / "main.js").write_text("let b;", "utf-8")
    assert Files(tmp_path).edition != before


NO_FILES = "nothing.js ../files.py ..%2ffiles.py js/../../api.py js %2e%2e/routes.py js/main.js/ \\x".split()


def test_what_is_not_a_file_of_the_page_is_not_there() -> None:
    async def use(client: Client, service: Service) -> None:
        for path in NO_FILES:
            answer = await client.get(f"http://127.0.0.1/console/{path}")
            assert answer.status_code in (401, 404) and b"import" not in answer.content, path
            assert answer.headers["x-content-type-options"] == "nosniff"

    asked(use)


def test_the_root_leads_to_the_console() -> None:
    async def use(client: Client, service: Service) -> list[tuple[int, str]]:
        answers = [await client.get(path) for path in ("/", "/console")]
        return [(answer.status_code, answer.headers["location"]) for answer in answers]

    assert asked(use) == [(307, "/console/")] * 2


def test_the_page_names_nothing_from_elsewhere_and_makes_no_markup_of_strings() -> None:
    for path in FOLDER.rglob("*"):
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        found = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", text))
        assert found <= {"http://www.w3.org", "//www.w3.org"}, path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), path
        for name in re.findall(r'from "(\./[^"]+)"|(?:href|src)="((?:css|js)/[^"]+|[a-z]+\.svg)', text):
            target = next(filter(None, name))
            assert (path.parent / target if target.startswith(".") else FOLDER / target).is_file(), (path, target)


# ---------------------------------------------------------------------------------------- the state


def test_the_state_tells_engines_limits_and_what_is_kept(tmp_path: Path) -> None:
    keys = TranscriptConfig(store="sqlite", path=tmp_path / "t.db", record_audio=True, keep="30d")
    given = config({"max_sessions": 3}, workflow={}).model_copy(update={"transcript": keys})

    async def use(client: Client, service: Service) -> dict[str, Any]:
        answer = await client.get("/v1/state")
        assert answer.headers["cache-control"] == "no-store"
        return answer.json()

    state = asked(use, given)
    assert (state["sessions"], state["max_sessions"], state["refused"]) == (0, 3, None)
    assert state["console"] == Files().edition
    assert state["transcripts"] == {"kept": True, "audio": True, "encrypted": False, "keep": "30d"}
    assert [one["stage"] for one in state["engines"]] == ["vad", "turn", "stt", "llm", "tts"]
    assert {one["stage"]: one["in_order"] for one in state["engines"]} == {
        "vad": None, "turn": None, "stt": True, "llm": True, "tts": True,
    }  # fmt: skip
    assert "transcripts" in state["scopes"] and state["key_id"] == ""


def test_before_the_engines_are_there_the_state_says_loading_and_the_others_wait() -> None:
    async def main() -> None:
        service = Service(config())
        transport = httpx2.ASGITransport(app=create_app(service), client=("127.0.0.1", 50000))
        async with service, Client(transport=transport, base_url="http://127.0.0.1") as client:
            state = (await client.get("/v1/state")).json()
            assert state["refused"]["code"] == "loading" and not state["engines"][0]["loaded"]
            for path in ("/v1/transcripts", "/v1/approvals"):
                answer = await client.get(path)
                assert answer.status_code == 503 and answer.headers["retry-after"]

    asyncio.run(main())


# ------------------------------------------------------------------------------------- transcripts


SAID = {"sess_1": "Wie spät ist es in Übersee?", "sess_2": "Tell me a story", "sess_3": "Pay Bob"}
ARGUMENTS = '{"to": "Bob", "amount": 20}'


async def _recorded(folder: Path, *, key: RecordingKey | None = None) -> None:
    """Three conversations; the newest has a tool, an interruption and three seconds of audio."""
    with open_store(path=folder / "t.db") as store:
        for name, said in SAID.items():
            talk = Talk(name)
            recorder = store.recorder(name, person="ada")
            events = talk.asks(said)
            if name == "sess_3":
                events += [talk.calls("transfer", ARGUMENTS), talk.gives("20 euros are on their way")]
            events += talk.says("It is done, and you will see it tomorrow.", heard="It is done")
            events += [talk.ends("It is done, and you will see it tomorrow.", status="interrupted")]
            for event in events:
                recorder(event)
            if name == "sess_3":
                recording = start_recording(folder / "recordings", name, 24000, key=key)
                tone = 0.5 * np.sin(np.arange(3 * 24000) / 20).astype(np.float32)
                for at in range(0, len(tone), 2400):
                    recording.hear(AudioFrame(tone[at : at + 2400], 24000, at / 24000))
                assert await recording.aclose()
                recorder.note_audio("closed", recording.file, rate_hz=24000, duration_s=3.0, encrypted=key is not None)
            await recorder.aclose("ended")
            await asyncio.sleep(0.005)  # so that they have an order in time


@functools.cache
def _records(sealed: bool) -> Path:
    """Made once: each store is brought up to date by migrations, which takes its time."""
    folder = Path(tempfile.mkdtemp(prefix="antiphon-console-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    asyncio.run(_recorded(folder, key=RecordingKey(bytes(range(32))) if sealed else None))
    return folder


def with_records(folder: Path, use: Callable[[Client, Service], Awaitable[Any]], **keys: Any) -> Any:
    shutil.copytree(_records("encrypt" in keys), folder, dirs_exist_ok=True)
    kept = TranscriptConfig(store="sqlite", path=folder / "t.db", **keys)
    return asked(use, config().model_copy(update={"transcript": kept}))


def test_transcripts_are_listed_newest_first_page_by_page(tmp_path: Path) -> None:
    async def use(client: Client, service: Service) -> list[str]:
        ids, after = [], ""
        while True:
            page = (await client.get("/v1/transcripts", params={"limit": 1, "after": after})).json()
            ids += [one["id"] for one in page["sessions"]]
            if page["after"] is None:
                return ids
            after = page["after"]

    assert with_records(tmp_path, use) == ["sess_3", "sess_2", "sess_1"]


SEARCHES = {
    "": ["sess_3", "sess_2", "sess_1"],
    "bob": ["sess_3"],
    "on their way": ["sess_3"],
    "STORY": ["sess_2"],
    "übersee": ["sess_1"],
    "done tomorrow": ["sess_3", "sess_2", "sess_1"],
    "story bob": [],
    "100%": [],
    "sess_2": ["sess_2"],
}


def test_transcripts_are_found_by_words_of_either_side_and_of_tools(tmp_path: Path) -> None:
    async def use(client: Client, service: Service) -> dict[str, Any]:
        return {
            words: (await client.get("/v1/transcripts", params={"words": words})).json()["sessions"]
            for words in SEARCHES
        }

    found = with_records(tmp_path, use)
    assert {words: [one["id"] for one in sessions] for words, sessions in found.items()} == SEARCHES
    assert all(one["opening"] == SAID[one["id"]] for sessions in found.values() for one in sessions)
    hits = found["bob"][0]["hits"]
    assert {hit["who"] for hit in hits} == {"user", "tool"} and all("bob" in hit["text"].lower() for hit in hits)


def test_a_transcript_has_what_was_said_done_and_never_heard(tmp_path: Path) -> None:
    async def use(client: Client, service: Service) -> Any:
        missing = await client.get("/v1/transcripts/sess_9")
        assert missing.status_code == 404 and missing.json()["error"]["code"] == "not_found"
        for kind, begins in (("md", "# Conversation sess_3"), ("vtt", "WEBVTT"), ("jsonl", '{"type": "session"')):
            file = await client.get("/v1/transcripts/sess_3/export", params={"kind": kind})
            assert file.text.startswith(begins) and f'filename="sess_3.{kind}"' in file.headers["content-disposition"]
        return (await client.get("/v1/transcripts/sess_3")).json()

    talk = with_records(tmp_path, use)
    (turn,) = talk["turns_shown"]
    assert (turn["user"], turn["heard"], turn["status"]) == ("Pay Bob", "It is done", "interrupted")
    assert turn["unheard"] == ", and you will see it tomorrow."
    assert turn["calls"][0] | {"call_id": ""} == {
        "call_id": "",
        "name": "transfer",
        "arguments": ARGUMENTS,
        "output": "20 euros are on their way",
    }
    assert talk["audio"] and talk["person"] == "ada"


@pytest.mark.parametrize("sealed", [False, True])
def test_a_recording_is_played_in_parts_by_a_ticket(tmp_path: Path, sealed: bool) -> None:
    keys: dict[str, Any] = {}
    if sealed:
        (tmp_path / "key").write_bytes(base64.b64encode(bytes(range(32))))
        keys = {"key_file": tmp_path / "key", "encrypt": True}

    async def use(client: Client, service: Service) -> None:
        none = await client.post("/v1/transcripts/sess_2/ticket", json={})
        assert none.status_code == 404 and none.json()["error"]["code"] == "no_recording"
        ticket = (await client.post("/v1/transcripts/sess_3/ticket", json={})).json()
        assert ticket["duration_s"] == pytest.approx(3.0, abs=0.01)
        whole = await client.get(ticket["url"])
        assert whole.status_code == 200 and whole.headers["content-type"] == "audio/wav"
        assert len(whole.content) == int(whole.headers["content-length"]) == 44 + 3 * 24000 * 4
        for asked_for, first, last in (
            ("bytes=0-", 0, len(whole.content) - 1),
            ("bytes=10-99", 10, 99),
            ("bytes=200001-200101", 200001, 200101),
            ("bytes=-7", len(whole.content) - 7, len(whole.content) - 1),
            ("bytes=288000-999999999", 288000, len(whole.content) - 1),
        ):
            part = await client.get(ticket["url"], headers={"Range": asked_for})
            assert part.status_code == 206
            assert part.headers["content-range"] == f"bytes {first}-{last}/{len(whole.content)}"
            assert part.content == whole.content[first : last + 1], asked_for
        beyond = await client.get(ticket["url"], headers={"Range": "bytes=999999999-"})
        assert beyond.status_code == 416
        samples = np.frombuffer(whole.content[44:], dtype="<i2").reshape(-1, 2)
        assert np.abs(samples[:, 0]).max() > 15000 and np.abs(samples[:, 1]).max() == 0
        assert (await client.get("/console/audio/guessed")).status_code == 404

    with_records(tmp_path, use, **keys)


def test_a_recording_that_was_cut_off_plays_as_far_as_it_goes(tmp_path: Path) -> None:
    async def use(client: Client, service: Service) -> None:
        file = tmp_path / "recordings" / "sess_3.flac"
        sink = FlacSink(tmp_path / "open.flac", 24000)
        for _ in range(30):
            sink.write(np.full((2400, 2), 0.25, dtype=np.float32))
        file.write_bytes((tmp_path / "open.flac").read_bytes())  # as it is where the process dies now
        sink.close()
        ticket = (await client.post("/v1/transcripts/sess_3/ticket", json={})).json()
        assert 1.0 < ticket["duration_s"] < 3.0
        whole = await client.get(ticket["url"])
        part = await client.get(ticket["url"], headers={"Range": "bytes=100044-100143"})
        assert (len(whole.content) - 44) / 96_000 == pytest.approx(ticket["duration_s"], abs=0.001)
        assert np.abs(np.frombuffer(whole.content[44:], dtype="<i2") - 8192).max() <= 1
        assert part.content == whole.content[100044:100144]

    with_records(tmp_path, use)


def test_what_cannot_be_read_of_a_recording_is_silence(tmp_path: Path) -> None:
    async def use(client: Client, service: Service) -> None:
        file = tmp_path / "recordings" / "sess_3.flac"
        file.write_bytes(file.read_bytes()[:-20_000])
        ticket = (await client.post("/v1/transcripts/sess_3/ticket", json={})).json()
        whole = await client.get(ticket["url"])
        assert len(whole.content) == int(whole.headers["content-length"]) and not any(whole.content[-1000:])
        file.unlink()
        gone = await client.post("/v1/transcripts/sess_3/ticket", json={})
        assert gone.json()["error"]["code"] == "transcripts_failed"
        assert str(tmp_path) not in gone.text, "where it would be is nothing for clients"

    with_records(tmp_path, use)


def test_the_recording_of_a_conversation_under_way_is_heard_later(tmp_path: Path) -> None:
    async def begun() -> None:
        with open_store(path=tmp_path / "t.db") as store:
            recorder = store.recorder("sess_4")
            for event in Talk("sess_4").asks("Hello?"):
                recorder(event)
            recordings = tmp_path / "recordings"
            recordings.mkdir()
            (recordings / "sess_4.flac").write_bytes(b"fLaC")
            recorder.note_audio("opened", "sess_4.flac", rate_hz=24000, duration_s=0.0, encrypted=False)
            await recorder.settled()

    async def use(client: Client, service: Service) -> None:
        ticket = await client.post("/v1/transcripts/sess_4/ticket", json={})
        assert ticket.status_code == 409 and ticket.json()["error"]["code"] == "recording_open"

    asyncio.run(begun())
    kept = TranscriptConfig(store="sqlite", path=tmp_path / "t.db")
    asked(use, config().model_copy(update={"transcript": kept}))


def test_a_ticket_is_for_one_recording_and_runs_out() -> None:
    now = [0.0]
    tickets = Tickets(lasts_s=10.0, keep=2, clock=lambda: now[0])
    first, second = tickets.give("a"), tickets.give("b")
    assert (tickets.session(first), tickets.session(second), tickets.session("x")) == ("a", "b", None)
    tickets.give("c")
    assert tickets.session(first) is None, "the oldest makes room"
    now[0] = 10.0
    assert tickets.session(second) is None


def test_where_nothing_is_kept_there_is_nothing_and_it_says_why() -> None:
    async def use(client: Client, service: Service) -> None:
        assert (await client.get("/v1/transcripts")).json() == {"sessions": [], "after": None}
        one = await client.get("/v1/transcripts/sess_1")
        assert one.status_code == 404 and one.json()["error"]["code"] == "no_transcripts"

    asked(use)


NO_LISTS: list[dict[str, Any]] = [
    {"after": "x"},
    {"after": "2026-01-01|a"},
    {"after": "0001-01-01T00:00:00+14:00|a"},
    {"limit": 0},
    {"limit": 201},
    {"words": "x" * 201},
]


def test_a_list_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    async def use(client: Client, service: Service) -> list[int]:
        return [(await client.get("/v1/transcripts", params=params)).status_code for params in NO_LISTS]

    assert with_records(tmp_path, use) == [400] * len(NO_LISTS)


# --------------------------------------------------------------------------------------- approvals


def _question(**fields: Any) -> ApprovalRequest:
    return ApprovalRequest(
        **{
            "session": "sess_1",
            "turn": 1,
            "kind": "tool_call",
            "question": "Shall I?",
            "tool": "transfer",
            "call_id": "c1",
            "arguments": '{"amount": 20}',
            "by": "desk",
            **fields,
        }
    )


def with_desk(folder: Path, use: Callable[[Client, Service], Awaitable[Any]]) -> Any:
    return asked(use, config().model_copy(update={"approvals": ApprovalKeys(store=folder / "a.db")}))


def test_looking_at_approvals_makes_no_file(tmp_path: Path) -> None:
    async def use(client: Client, service: Service) -> Any:
        answer = (await client.get("/v1/approvals")).json()
        decided = await client.post("/v1/approvals/appr_x", json={"granted": True})
        assert decided.status_code == 404
        return answer

    answer = with_desk(tmp_path, use)
    assert answer["approvals"] == [] and abs(answer["now_s"] - time.time()) < 60
    assert not (tmp_path / "a.db").exists()


@pytest.mark.parametrize("granted", [True, False])
def test_a_question_is_decided_once_and_whoever_waits_goes_on_at_once(tmp_path: Path, granted: bool) -> None:
    async def use(client: Client, service: Service) -> None:
        desk = service.assembly.desk
        asking = asyncio.create_task(desk.ask(_question()))
        found: list[Any] = []
        while not found:
            await asyncio.sleep(0.01)
            found = (await client.get("/v1/approvals")).json()["approvals"]
        assert (found[0]["question"], found[0]["state"], found[0]["decides"]) == ("Shall I?", "pending", "desk")
        assert "run_state" not in found[0]
        place = f"/v1/approvals/{found[0]['id']}"
        decided = (await client.post(place, json={"granted": granted, "note": "as agreed"})).json()
        decision = await asking
        assert decision.granted is granted and decided["decided_by"] == "console" and decided["note"] == "as agreed"
        late = await client.post(place, json={"granted": not granted})
        assert late.status_code == 409 and late.json()["error"]["code"] == "decided"
        assert (await client.get("/v1/approvals")).json()["approvals"] == []
        (before,) = (await client.get("/v1/approvals", params={"which": "all"})).json()["approvals"]
        assert before["state"] == ("granted" if granted else "refused")

    with_desk(tmp_path, use)


def test_what_only_the_caller_may_decide_is_not_decided_here(tmp_path: Path) -> None:
    async def use(client: Client, service: Service) -> None:
        approval = await service.assembly.desk.open(_question(by="voice"))
        answer = await client.post(f"/v1/approvals/{approval.id}", json={"granted": True})
        assert answer.status_code == 409 and answer.json()["error"]["code"] == "voice_only"
        assert (await service.assembly.desk.get(approval.id)).state == "pending"

    with_desk(tmp_path, use)


NO_DECISIONS: list[tuple[dict[str, Any], str, str | None, int]] = [
    ({"granted": "perhaps"}, "application/json", None, 400),
    ({"granted": 1}, "application/json", None, 400),
    ({"granted": True, "by": "somebody else"}, "application/json", None, 400),
    ({"granted": True, "note": "x" * 1001}, "application/json", None, 400),
    ({"granted": True}, "text/plain", None, 400),
    ({"granted": True}, "application/json", "http://evil.example", 403),
]


def test_a_decision_that_makes_no_sense_or_comes_from_another_page_is_none(tmp_path: Path) -> None:
    async def use(client: Client, service: Service) -> None:
        approval = await service.assembly.desk.open(_question())
        for body, kind, origin, status in NO_DECISIONS:
            headers = {"Content-Type": kind, **({"Origin": origin} if origin else {})}
            answer = await client.post(f"/v1/approvals/{approval.id}", content=json.dumps(body), headers=headers)
            assert answer.status_code == status, body
        assert (await service.assembly.desk.get(approval.id)).state == "pending"

    with_desk(tmp_path, use)
