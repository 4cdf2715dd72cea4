"""Pipeline runs over Wyoming: a satellite's speech in, the agent's speech out; and satellites that are connected to."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from network_clock import run_networked
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStop
from wyoming.event import Event, async_read_event, async_write_event
from wyoming.handle import Handled
from wyoming.info import Describe
from wyoming.pipeline import PipelineStage, RunPipeline
from wyoming_talk import FORM, TONE, client, kinds, send_audio, sound, speak_live, until, wyoming_config, wyoming_server

from antiphon.engines.testing import Heard, Reply
from antiphon.pipeline.config import engine_block
from antiphon.pipeline.errors import ConfigError
from antiphon.server import client_audio
from antiphon.server.wyoming import satellites
from antiphon.server.wyoming.satellites import check_satellites

ASR, HANDLE, TTS = PipelineStage.ASR, PipelineStage.HANDLE, PipelineStage.TTS
LONG = "One two three four five six seven eight nine ten. " * 4


def run(talk: Any, given: Any = None) -> Any:
    async def main() -> Any:
        async with wyoming_server(given) as (address, service):
            return await talk(address, service)

    return run_networked(main())


def texts(events: list[Event], kind: str) -> list[str]:
    return [event.data["text"] for event in events if event.type == kind]


# ----------------------------------------------------------------------------------- speech to speech


def test_a_spoken_question_is_answered_in_speech_and_the_next_run_goes_on_with_it() -> None:
    given = wyoming_config(llm=lambda call: Reply.of(f"I have {len(call.messages)} messages."))

    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            runs = []
            for _ in range(2):
                await one.write_event(RunPipeline(ASR, TTS).event())
                await speak_live(one, 0.6)
                await speak_live(one, 0.7, loud=False)
                runs.append(await until(one, "synthesize"))
            assert service.sessions == 1
        async with asyncio.timeout(60):
            while service.sessions:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return runs

    first, second = run(talk, given)
    order = kinds(first)
    assert order[:3] == ["voice-started", "voice-stopped", "transcript"]
    assert {"audio-start", "audio-chunk", "audio-stop"} <= set(order)
    assert order.index("audio-start") > order.index("transcript")
    assert texts(first, "transcript") == ["what time is it"]
    assert texts(first, "synthesize") == ["I have 2 messages."] and texts(second, "synthesize") == [
        "I have 4 messages."
    ]
    heard = np.frombuffer(sound(first), "<i2")
    assert len(heard) / 24000 == pytest.approx(len("I have 2 messages.") * 0.06, rel=0.1) and np.abs(heard).max() > 3000


def test_a_satellite_with_its_own_ear_for_the_end_says_when_the_turn_is_over() -> None:
    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            await one.write_event(RunPipeline(ASR, TTS).event())
            await speak_live(one, 0.6)
            await one.write_event(AudioStop().event())  # no silence at all
            return await until(one, "synthesize", "error")

    events = run(talk)
    assert texts(events, "transcript") == ["what time is it"] and texts(events, "synthesize") == ["It is noon."]


def test_a_run_in_which_nobody_speaks_says_so() -> None:
    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            await one.write_event(RunPipeline(ASR, TTS).event())
            await speak_live(one, 0.3, loud=False)
            await one.write_event(AudioStop().event())
            return await until(one, "error")

    assert run(talk)[-1].data["code"] == "stt-no-text-recognized"


def test_who_goes_on_listening_can_be_spoken_into() -> None:
    given = wyoming_config({"echo_cancelled": True}, llm=[Reply.of(LONG)])

    async def main() -> Any:
        events: list[Event] = []
        async with wyoming_server(given) as (address, _):
            async with client(address) as one:

                async def read() -> None:
                    while (event := await one.read_event()) is not None:
                        events.append(event)

                reading = asyncio.create_task(read())
                await one.write_event(RunPipeline(ASR, TTS, restart_on_end=True).event())
                await speak_live(one, 0.6)
                await speak_live(one, 1.5, loud=False)
                await speak_live(one, 1.0)
                await speak_live(one, 0.6, loud=False)
                reading.cancel()
                await asyncio.wait({reading})
        return events

    events = run_networked(main())
    assert texts(events, "transcript") == ["what time is it"] * 2
    order = kinds(events)
    stopped = order.index("audio-stop")
    assert order.index("audio-start") < stopped, "the first reply ended where it was interrupted"
    first = events[: next(at for at, event in enumerate(events) if event.type == "audio-stop")]
    assert len(sound(first)) / 2 / 24000 < 2.5, "and not after its thirteen seconds"
    assert texts(events, "synthesize")[0] != LONG.strip() and LONG.startswith(texts(events, "synthesize")[0][:20])


def test_a_satellite_that_hears_itself_is_not_listened_to_while_it_plays_and_again_after() -> None:
    async def main() -> Any:
        events: list[Event] = []
        async with wyoming_server() as (address, _):
            async with client(address) as one:

                async def read() -> None:
                    while (event := await one.read_event()) is not None:
                        events.append(event)

                reading = asyncio.create_task(read())
                await one.write_event(RunPipeline(PipelineStage.WAKE, TTS).event())  # it leaves the wake word to us
                await speak_live(one, 0.6)
                await one.write_event(AudioStop().event())
                while "audio-start" not in kinds(events):
                    await speak_live(one, 0.02, loud=False)
                while "synthesize" not in kinds(events):
                    await speak_live(one, 0.1)  # its own echo
                await speak_live(one, 0.8, loud=False)
                await speak_live(one, 0.6)
                async with asyncio.timeout(60):
                    while kinds(events).count("transcript") < 2:
                        await speak_live(one, 0.1, loud=False)
                reading.cancel()
                await asyncio.wait({reading})
        return events

    events = run_networked(main())
    order = kinds(events)
    first_reply = order[order.index("audio-start") : order.index("audio-stop")]
    assert "voice-started" not in first_reply
    assert texts(events, "transcript") == ["what time is it"] * 2


def test_who_streams_all_the_time_gets_another_conversation_when_one_is_over() -> None:
    session = {"on_error": "", "idle_after_s": 0.3, "idle_prompts": (), "idle_goodbye": ""}

    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            await one.write_event(RunPipeline(ASR, TTS, restart_on_end=True).event())
            async with asyncio.timeout(60):
                for there in (1, 0, 1):
                    while service.sessions != there:
                        await speak_live(one, 0.02 if there else 0.0, loud=False)
                        await asyncio.sleep(0.01)
        return True

    assert run(talk, wyoming_config(session=session))


def test_no_room_for_another_conversation_is_told() -> None:
    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one, client(address) as other:
            await one.write_event(RunPipeline(ASR, TTS).event())
            await speak_live(one, 0.3)
            await other.write_event(RunPipeline(ASR, TTS).event())
            return await until(other, "error")

    assert run(talk, wyoming_config(server={"max_sessions": 1}))[-1].data["code"] == "full"


def test_an_engine_that_fails_in_a_run_is_told_and_the_next_run_works() -> None:
    from antiphon.engines.errors import EngineFailed

    given = wyoming_config(stt=[EngineFailed("deaf"), Heard("what time is it")], llm=(), repeat=False)
    given = given.model_copy(update={"speculation": given.speculation.model_copy(update={"enabled": False})})
    block = engine_block("llm", "scripted_engines:Llm", {})
    given = given.model_copy(update={"llm": (block,)})

    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            found = []
            for _ in range(2):
                await one.write_event(RunPipeline(ASR, TTS).event())
                await speak_live(one, 0.6)
                await one.write_event(AudioStop().event())
                found.append(await until(one, "error", "synthesize"))
            return found

    first, second = run(talk, given)
    assert first[-1].data["code"] == "failed"
    assert second[-1].type == "synthesize"


@pytest.mark.parametrize("max_unheard_s", [60.0, 0.5])
def test_a_session_that_ends_before_it_has_heard_all_leaves_a_connection_that_works(
    max_unheard_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_audio, "MAX_UNHEARD_S", max_unheard_s)

    async def talk(address: Any, service: Any) -> Any:
        found = []
        async with client(address) as one, asyncio.timeout(60):
            for stops_before in (False, True):
                await one.write_event(RunPipeline(ASR, TTS).event())
                for _ in range(2):
                    await one.write_event(AudioChunk(audio=bytes(len(TONE) * 3), **FORM).event())
                if stops_before:
                    await one.write_event(AudioStop().event())
                await asyncio.sleep(0.3)
                assert service.sessions == 1
                for conversation in service.talks:
                    conversation.conversing.close()
                while service.sessions:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                if not stops_before:
                    await one.write_event(AudioStop().event())
                await one.write_event(Describe().event())
                found += kinds(await until(one, "info"))
        return found

    assert run(talk) == ["info", "info"]


def test_a_session_that_cannot_be_made_is_told_once_and_the_connection_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def talk(address: Any, service: Any) -> Any:
        def broken(*_: Any, **__: Any) -> Any:
            raise RuntimeError("no session")

        monkeypatch.setattr(service, "session", broken)
        async with client(address) as one, asyncio.timeout(60):
            await one.write_event(RunPipeline(ASR, TTS, restart_on_end=True).event())
            await send_audio(one, TONE)
            await one.write_event(Describe().event())
            return [event.type for event in await until(one, "info")]

    assert run(talk) == ["error", "info"]


# ----------------------------------------------------------------------------------- parts of the way


def test_runs_that_begin_or_end_with_text() -> None:
    async def talk(address: Any, service: Any) -> Any:
        found = []
        async with client(address) as one:
            await one.write_event(RunPipeline(ASR, HANDLE).event())
            await send_audio(one, TONE)
            found.append(await until(one, "handled-stop"))
            await one.write_event(RunPipeline(ASR, ASR).event())
            await send_audio(one, TONE)
            found.append(await until(one, "transcript-stop"))
            await one.write_event(RunPipeline(HANDLE, TTS).event())
            await one.write_event(Transcript(text="What time is it?").event())
            found.append(await until(one, "audio-stop"))
            await one.write_event(RunPipeline(TTS, TTS, announce_text="Dinner is ready.").event())
            found.append(await until(one, "audio-stop"))
            assert service.sessions == 0
        return found

    both, heard, spoken, announced = run(talk)
    assert texts(both, "transcript") == ["what time is it"]
    assert Handled.from_event(next(event for event in both if event.type == "handled")).text == "It is noon."
    assert kinds(heard)[-1] == "transcript-stop" and "handled" not in kinds(heard)
    assert texts(spoken, "handled") == ["It is noon."]
    assert len(sound(spoken)) / 2 / 24000 == pytest.approx(0.66, rel=0.1)
    assert len(sound(announced)) / 2 / 24000 == pytest.approx(len("Dinner is ready.") * 0.06, rel=0.1)


# --------------------------------------------------------------------------------------- satellites


def test_a_satellite_is_connected_to_served_and_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(satellites, "RECONNECT_S", 0.1)
    met: list[list[str]] = []

    async def satellite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """As the program `wyoming-satellite` behaves: it waits for its server, then asks it for a run."""
        greeted = [await async_read_event(reader), await async_read_event(reader)]
        await async_write_event(Event("info", {"satellite": {"name": "kitchen"}}), writer)
        await async_write_event(RunPipeline(TTS, TTS, announce_text="Hello.").event(), writer)
        events = [event for event in greeted if event is not None]
        while (event := await async_read_event(reader)) is not None:
            events.append(event)
            if event.type == "audio-stop":
                break
        met.append(kinds(events))
        writer.close()

    async def main() -> None:
        listening = await asyncio.start_server(satellite, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        given = wyoming_config({"port": None, "satellites": [f"tcp://127.0.0.1:{port}"]})
        async with listening, wyoming_server(given) as (address, _):
            assert address == ("", 0), "it listens nowhere itself"
            async with asyncio.timeout(60):
                while len(met) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

    run_networked(main())
    assert met[0] == ["describe", "run-satellite", "audio-start", "audio-chunk", "audio-stop"]


def test_satellites_of_other_machines_need_the_network_and_an_address() -> None:
    check_satellites(("tcp://127.0.0.1:10700",), offline=True)
    check_satellites(("tcp://192.168.1.20:10700",), offline=False)
    with pytest.raises(ConfigError, match="forbids to connect"):
        check_satellites(("tcp://192.168.1.20:10700",), offline=True)
    for uri in ("kitchen", "tcp://kitchen", "http://kitchen:10700", "tcp://kitchen:door"):
        with pytest.raises(ConfigError, match="no address of a satellite"):
            check_satellites((uri,), offline=False)
