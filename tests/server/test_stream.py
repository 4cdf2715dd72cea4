"""The plain stream, on scripted engines and a virtual clock: whole conversations without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loud_vad import LoudVad
from scripted_config import GivenOptions, Script

from antiphon.engines.errors import EngineFailed
from antiphon.engines.testing import Heard, Reply, ScriptedTTS, run_virtual
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config import Config, engine_block
from antiphon.server.outbox import Outbox, SlowClient
from antiphon.server.peer import Peer
from antiphon.server.stream import MAX_UNSENT, MESSAGES, StreamConnection

RATE_HZ = 16000
TONE = (0.3 * np.sin(2 * np.pi * 220 / RATE_HZ * np.arange(RATE_HZ)) * 32767).astype("<i2")


def config(**fields: Any) -> Config:
    sections = fields.pop("sections", {})
    made = Script(
        **{"stt": [Heard("what time is it", 0.1)], "llm": [Reply.of("It is noon.")], "repeat": True, **fields}
    )
    vad = engine_block("vad", "scripted_config:given", GivenOptions(engine=LoudVad()))
    return made.config(**sections).model_copy(update={"vad": vad})


class Client:
    """Speaks, and keeps what comes. It plays audio as soon as it comes, and drops it when it is told to."""

    def __init__(self) -> None:
        self.to_server: asyncio.Queue[bytes | str | None] = asyncio.Queue()
        self.messages: list[dict[str, Any]] = []
        self.audio = b""
        self.audio_at_s: list[float] = []
        self.gone = False

    async def receive(self) -> bytes | str | None:
        return await self.to_server.get()

    async def send(self, message: bytes | str) -> None:
        if isinstance(message, bytes):
            self.audio += message
            self.audio_at_s.append(asyncio.get_running_loop().time())
        else:
            self.messages.append(json.loads(message))

    def tell(self, **message: Any) -> None:
        self.to_server.put_nowait(json.dumps(message))

    async def speak(self, seconds: float, *, loud: bool = True) -> None:
        for at in range(0, round(seconds * RATE_HZ), 320):
            await asyncio.sleep(0.02)
            piece = TONE[at % RATE_HZ :][:320] if loud else np.zeros(320, "<i2")
            self.to_server.put_nowait(piece.tobytes())

    async def be_silent(self, seconds: float) -> None:
        await self.speak(seconds, loud=False)

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]

    def texts(self, role: str) -> list[str]:
        return [one["text"] for one in self.of_type("transcript") if one["role"] == role and one["final"]]


def converse(talk: Callable[[Client], Awaitable[None]], given: Config | None = None, rate_hz: int = RATE_HZ) -> Client:
    """A conversation in which the client does `talk` and then hangs up."""

    async def main() -> Client:
        client = Client()
        async with Assembly(given or config()) as assembly:
            connection = StreamConnection(assembly.session, Peer(client.receive, client.send), rate_hz=rate_hz)
            serving = asyncio.create_task(connection.run())
            await talk(client)
            client.to_server.put_nowait(None)
            async with asyncio.timeout(60):
                await serving
        return client

    return run_virtual(main())


def test_a_question_is_answered_in_sound_and_in_words() -> None:
    async def talk(client: Client) -> None:
        await client.be_silent(0.3)
        await client.speak(1.0)
        await client.be_silent(2.0)

    client = converse(talk)
    assert client.texts("user") == ["what time is it"]
    assert client.texts("agent") == ["It is noon."]
    heard = np.frombuffer(client.audio, "<i2")
    assert len(heard) == pytest.approx(len("It is noon.") * 0.06 * RATE_HZ, rel=0.02), "at the client's rate"
    assert np.abs(heard).max() > 3000
    assert client.of_type("event") == [] and client.of_type("error") == []


def test_audio_is_sent_as_it_is_made_not_as_it_is_heard() -> None:
    async def talk(client: Client) -> None:
        await client.speak(1.0)
        await client.be_silent(1.5)

    client = converse(talk, config(llm=[Reply.of("One two three four five six seven eight nine ten. " * 8)]))
    seconds = len(client.audio) / 2 / RATE_HZ
    assert seconds > 15
    assert client.audio_at_s[-1] - client.audio_at_s[0] < 1.0


def test_events_come_when_they_are_asked_for() -> None:
    async def talk(client: Client) -> None:
        client.tell(type="settings", events=True)
        await client.speak(1.0)
        await client.be_silent(2.0)

    client = converse(talk)
    kinds = [one["event"]["type"] for one in client.of_type("event")]
    assert ["speech_started", "committed", "audio_started", "turn_ended"] == [
        kind for kind in kinds if kind in ("speech_started", "committed", "audio_started", "turn_ended")
    ]
    assert {"t_s", "audio_s", "session", "turn", "revision"} <= client.of_type("event")[0]["event"].keys()


def test_speech_into_a_reply_clears_it_and_what_was_heard_is_told() -> None:
    async def talk(client: Client) -> None:
        client.tell(type="settings", events=True)
        await client.speak(1.0)
        await client.be_silent(1.5)
        await client.speak(1.2)
        await client.be_silent(2.0)

    client = converse(talk, config(llm=[Reply.of("A very long story about a lighthouse and its keeper. " * 4)]))
    assert client.of_type("clear"), "it fell silent"
    events = [one["event"] for one in client.of_type("event")]
    (stopped,) = [event for event in events if event["type"] == "interrupted"]
    assert stopped["heard"] and stopped["unheard"]
    paused = next(event for event in events if event["type"] == "playback_paused")
    started = [event for event in events if event["type"] == "speech_started"][1]
    assert paused["audio_s"] - started["at_s"] < 0.2
    assert client.texts("user") == ["what time is it"] * 2


def test_a_cough_into_a_reply_loses_none_of_it() -> None:
    async def talk(client: Client) -> None:
        await client.speak(1.0)
        await client.be_silent(1.5)
        await client.speak(0.2)
        await client.be_silent(12.0)

    given = config(
        stt=[Heard("what time is it", 0.1), Heard("", 0.05)], llm=[Reply.of("A long story. " * 8)], repeat=False
    )
    client = converse(talk, given)
    order = [message["type"] for message in client.messages]
    assert order.count("clear") == 1
    assert client.texts("agent") == ["A long story. " * 8]
    whole_s = len("A long story. " * 8) * 0.06
    assert len(client.audio) / 2 / RATE_HZ > whole_s, "what had been dropped was sent again"


def test_the_clients_count_corrects_what_was_heard() -> None:
    async def talk(client: Client) -> None:
        client.tell(type="settings", events=True)
        await client.speak(1.0)
        await client.be_silent(1.5)
        await client.speak(1.2)
        client.tell(type="played", seconds=0.3)
        await client.be_silent(1.0)

    client = converse(talk, config(llm=[Reply.of("One two three four five six seven eight nine ten. " * 4)]))
    told = [one["event"] for one in client.of_type("event") if one["event"]["type"] == "interrupted"]
    assert [event["acknowledged"] for event in told] == [False, True]
    assert told[1]["heard"] == "One" and len(told[0]["heard"]) > len("One two")


def test_the_end_of_input_is_answered_and_then_the_conversation_is_over() -> None:
    async def main() -> tuple[Client, bool]:
        client = Client()
        async with Assembly(config()) as assembly:
            connection = StreamConnection(assembly.session, Peer(client.receive, client.send), rate_hz=RATE_HZ)
            serving = asyncio.create_task(connection.run())
            await client.speak(1.0)
            client.tell(type="end")
            async with asyncio.timeout(30):
                await serving
        return client, True

    client, _ = run_virtual(main())
    assert client.texts("agent") == ["It is noon."]


def test_commit_and_cancel_are_obeyed() -> None:
    async def talk(client: Client) -> None:
        client.tell(type="settings", events=True)
        await client.speak(1.0)
        client.tell(type="commit")
        await client.be_silent(0.6)
        client.tell(type="cancel")
        await client.be_silent(1.0)

    client = converse(talk, config(llm=[Reply.of("A very long story about a lighthouse. " * 4)]))
    events = [one["event"] for one in client.of_type("event")]
    assert next(event for event in events if event["type"] == "committed")["audio_s"] < 1.2
    assert next(event for event in events if event["type"] == "turn_ended")["status"] in ("cancelled", "interrupted")
    assert client.of_type("clear")


def test_instructions_of_the_client() -> None:
    seen: list[str] = []

    def answer(call: Any) -> Reply:
        seen.append(call.messages[0].content)
        return Reply.of("Arr.")

    async def talk(client: Client) -> None:
        client.tell(type="settings", instructions="You are a pirate.")
        await client.speak(1.0)
        await client.be_silent(2.0)

    client = converse(talk, config(llm=answer))
    assert seen[0].startswith("You are a pirate.")
    assert client.texts("agent") == ["Arr."]


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("nonsense", "the text message is no JSON"),
        ("[]", "is no JSON object"),
        ('{"type": "dance"}', "settings, played, commit, cancel or end"),
        ('{"type": "played", "seconds": -1}', "seconds"),
        ('{"type": "played", "seconds": NaN}', "seconds"),
        ('{"type": "played"}', "seconds"),
        ('{"type": "cancel", "now": true}', "'now' is no key of this message"),
        ('{"type": "settings"}', "settings come first"),
        (b"abc", "a binary message of 3 bytes is no PCM16"),
    ],
)
def test_what_cannot_be_understood_is_told_and_the_conversation_goes_on(message: bytes | str, told: str) -> None:
    async def talk(client: Client) -> None:
        await client.be_silent(0.1)
        client.to_server.put_nowait(message)
        await client.speak(1.0)
        await client.be_silent(2.0)

    client = converse(talk)
    (error,) = client.of_type("error")
    assert told in error["message"]
    assert client.texts("agent") == ["It is noon."]


@pytest.mark.parametrize("first", ['{"type": "played", "seconds": 1}', "{", '{"type": "settings", "event": true}'])
def test_a_first_message_that_is_no_settings_is_told_and_the_conversation_goes_on(first: str) -> None:
    async def talk(client: Client) -> None:
        client.to_server.put_nowait(first)
        await client.speak(1.0)
        await client.be_silent(2.0)

    client = converse(talk)
    assert len(client.of_type("error")) == 1
    assert client.texts("agent") == ["It is noon."]


def test_an_engine_that_fails_is_apologised_for_and_the_next_turn_works() -> None:
    async def talk(client: Client) -> None:
        for _ in range(2):
            await client.speak(1.0)
            await client.be_silent(3.0)

    given = config(
        llm=[EngineFailed("broken"), Reply.of("It is noon.")], session={"on_error": "Sorry."}, repeat=False,
        stt=[Heard("one", 0.1), Heard("two", 0.1)],
    )  # fmt: skip
    client = converse(talk, given)
    assert client.texts("user") == ["one", "two"]
    assert client.texts("agent")[-1] == "It is noon."
    assert len(client.audio) > 0


def test_a_client_that_hangs_up_in_the_middle_leaves_nothing_running() -> None:
    async def main() -> set[str]:
        client = Client()
        async with Assembly(config(llm=[Reply.of("A very long story. " * 9, delta_delay_s=0.2)])) as assembly:
            before = asyncio.all_tasks()
            connection = StreamConnection(assembly.session, Peer(client.receive, client.send), rate_hz=RATE_HZ)
            serving = asyncio.create_task(connection.run())
            await client.speak(1.0)
            await client.be_silent(1.0)
            client.to_server.put_nowait(None)
            await serving
            await asyncio.sleep(0.1)
            return {task.get_name() for task in asyncio.all_tasks() - before}

    assert run_virtual(main()) == set()


def test_a_conversation_that_has_not_begun_when_the_server_ends_does_not_begin() -> None:
    async def main() -> Client:
        client = Client()
        async with Assembly(config(stt=(), llm=(), repeat=False)) as assembly:
            connection = StreamConnection(assembly.session, Peer(client.receive, client.send), rate_hz=RATE_HZ)
            serving = asyncio.create_task(connection.run())
            await asyncio.sleep(1.0)
            connection.close()
            async with asyncio.timeout(1):
                await serving
        return client

    assert run_virtual(main()).messages == []


def test_the_last_message_is_sent_however_slow_the_client_is() -> None:
    async def main() -> list[str]:
        sent: list[str] = []

        async def send(message: Any) -> None:
            await asyncio.sleep(0.5)
            sent.append(message)

        outbox = Outbox(send)
        sending = asyncio.create_task(outbox.run())
        outbox.put("one")
        outbox.put("two")
        await outbox.flushed()
        sending.cancel()
        return sent

    assert run_virtual(main()) == ["one", "two"]


def test_the_greeting_is_said_once_audio_comes(  # a device streams from the moment it connects
) -> None:
    async def talk(client: Client) -> None:
        await client.be_silent(2.0)

    client = converse(talk, config(session={"greeting": "Hello there.", "on_error": ""}))
    assert client.texts("agent") == ["Hello there."]


@pytest.mark.parametrize("rate_hz", [8000, 24000, 44100, 48000])
def test_any_rate(rate_hz: int) -> None:
    async def talk(client: Client) -> None:
        count = round(rate_hz * 0.02)
        tone = (0.3 * np.sin(2 * np.pi * 220 / rate_hz * np.arange(count * 50)) * 32767).astype("<i2")
        for number in range(150):
            await asyncio.sleep(0.02)
            piece = tone[number * count :][:count] if number < 50 else np.zeros(count, "<i2")
            client.to_server.put_nowait(piece.tobytes())

    client = converse(talk, rate_hz=rate_hz)
    assert client.texts("agent") == ["It is noon."]
    assert len(client.audio) / 2 / rate_hz == pytest.approx(len("It is noon.") * 0.06, rel=0.05)


def test_slow_synthesis_does_not_hold_up_the_client() -> None:
    async def talk(client: Client) -> None:
        await client.speak(1.0)
        await client.be_silent(3.0)

    client = converse(talk, config(tts=ScriptedTTS(first_delay_s=0.5, chunk_delay_s=0.1)))
    assert client.texts("agent") == ["It is noon."]


def test_the_messages_of_the_page_are_understood() -> None:
    page = (Path(__file__).parents[2] / "docs" / "server.md").read_text("utf-8")
    rows = page.partition("From the client")[2].partition("`examples/")[0]
    messages = [line.split("`")[1] for line in rows.splitlines() if line.startswith("| `{")]
    assert {json.loads(message)["type"] for message in messages} == {"settings", "played", "commit", "cancel", "end"}
    for message in messages:
        MESSAGES.validate_json(message)


def test_a_client_that_complains_and_takes_nothing_is_not_read_for_ever() -> None:
    """Each bad message is answered with an error: they must not pile up for one who does not take them."""
    read = 0

    async def main() -> None:
        async def receive() -> str:
            nonlocal read
            read += 1
            if read % 100 == 0:
                await asyncio.sleep(0.001)
            return "nonsense"

        async def send(message: bytes | str) -> None:
            await asyncio.Event().wait()

        async with Assembly(config()) as assembly:
            with pytest.raises(SlowClient):
                await StreamConnection(assembly.session, Peer(receive, send), rate_hz=RATE_HZ).run()

    run_virtual(main())
    assert MAX_UNSENT <= read <= MAX_UNSENT + 10


def test_long_messages_for_one_who_takes_nothing_do_not_pile_up_either() -> None:
    async def main() -> None:
        taking = asyncio.Event()

        async def send(message: bytes | str) -> None:
            await taking.wait()

        outbox = Outbox(send)
        sending = asyncio.create_task(outbox.run())
        await outbox.few(500)
        put = 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                while True:
                    await outbox.few(500)
                    outbox.put("x" * 1_000_000)
                    put += 1
                    await asyncio.sleep(0.01)
        assert put == 6, "one is being sent, five wait"
        outbox.put_audio(bytes(1000))
        outbox.drop_audio()
        taking.set()
        await outbox.few(0)
        assert outbox._chars == 0
        outbox.close()
        await sending

    run_virtual(main())
