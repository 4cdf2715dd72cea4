"""The Wyoming server, asked by the package's own client as Home Assistant asks: real sockets, scripted engines."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import numpy as np
import pytest
from network_clock import run_networked
from operated import operating
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event
from wyoming.handle import Handled
from wyoming.info import Describe, Info
from wyoming.ping import Ping
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeVoice
from wyoming_talk import FORM, RATE_HZ, TONE, client, kinds, send_audio, sound, until, wyoming_config, wyoming_server

from antiphon.engines.errors import EngineFailed
from antiphon.engines.protocols import TTSOptions
from antiphon.engines.testing import Heard, Reply, ScriptedTTS, run_virtual
from antiphon.pipeline.errors import ConfigError
from antiphon.server.service import Service
from antiphon.server.tcp_front import listen_tcp
from antiphon.server.wyoming.speaking import SpokenText
from antiphon.server.wyoming.thinking import KEPT_S, Talks

SECOND = TONE * 1


def run(talk: Any, given: Any = None) -> Any:
    async def main() -> Any:
        async with wyoming_server(given) as (address, service):
            return await talk(address, service)

    return run_networked(main())


# ---------------------------------------------------------------------------------------- what there is


def test_home_assistants_handshake_finds_speech_to_text_text_to_speech_and_the_agent() -> None:
    async def talk(address: Any, service: Any) -> Info:
        async with client(address) as one:
            await one.write_event(Describe().event())
            (event,) = await until(one, "info")
            return Info.from_event(event)

    info = run(talk)
    (asr,), (tts,), (handle,) = info.asr, info.tts, info.handle
    assert asr.installed and [(model.installed, model.languages) for model in asr.models] == [(True, ["en"])]
    assert tts.supports_synthesize_streaming and tts.voices[0].installed and tts.voices[0].languages == ["en"]
    assert handle.installed and handle.models[0].installed and handle.supports_handled_streaming
    assert info.satellite is None


def test_what_is_not_offered_is_not_told_of_and_is_refused() -> None:
    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            await one.write_event(Describe().event())
            info = Info.from_event((await until(one, "info"))[0])
            await one.write_event(Synthesize(text="Hello").event())
            await one.write_event(Transcript(text="Hello").event())
            return info, [await one.read_event(), await one.read_event()]

    info, (tts, handle) = run(talk, wyoming_config({"services": ["asr"], "name": "ears", "languages": ["de"]}))
    assert [program.name for program in info.asr] == ["ears"] and not info.tts and not info.handle
    assert info.asr[0].models[0].languages == ["de"]
    for event, name in ((tts, "tts"), (handle, "handle")):
        assert event.type == "error" and event.data["code"] == "not-offered" and f"'{name}'" in event.data["text"]


def test_a_ping_is_answered() -> None:
    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            await one.write_event(Ping(text="are you there").event())
            return (await until(one, "pong"))[0].data

    assert run(talk) == {"text": "are you there"}


# -------------------------------------------------------------------------------------------------- asr


def test_a_recording_is_transcribed_as_home_assistant_asks_for_it() -> None:
    given = wyoming_config(stt=[Heard("turn on the light", language="en")])

    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            await send_audio(one, SECOND, transcribe=Transcribe(language="en-US", transcript_names=["Nabu"]))
            events = await until(one, "transcript-stop")
        return events, service.engines.stt._engine.calls

    events, (call,) = run(talk, given)
    assert kinds(events) == ["transcript-start", "transcript-chunk", "transcript", "transcript-stop"]
    whole = Transcript.from_event(next(event for event in events if event.type == "transcript"))
    assert (whole.text, whole.language) == ("turn on the light", "en")
    assert call.audio.duration_s == pytest.approx(1.0) and call.audio.rate_hz == 16000
    assert call.options.language == "en" and call.options.hotwords == "Nabu"


def test_audio_of_any_form_is_heard_and_a_missing_beginning_is_no_harm() -> None:
    given = wyoming_config(stt=[Heard("one"), Heard("two")])
    stereo = {"rate": 48000, "width": 4, "channels": 2}

    async def talk(address: Any, service: Any) -> Any:
        texts = []
        async with client(address) as one:  # many requests on one connection
            await one.write_event(AudioChunk(audio=bytes(48000 * 8), **stereo).event())
            await one.write_event(AudioStop().event())
            texts += [(await until(one, "transcript-stop"))[1].data["text"]]
            await send_audio(one, SECOND)
            texts += [(await until(one, "transcript-stop"))[1].data["text"]]
        return texts, service.engines.stt._engine.calls

    texts, calls = run(talk, given)
    assert texts == ["one", "two"]
    assert [call.audio.duration_s for call in calls] == [pytest.approx(1.0, abs=0.01)] * 2


def test_no_audio_is_an_empty_transcript() -> None:
    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            await send_audio(one, b"", transcribe=Transcribe())
            return (await until(one, "transcript"))[-1].data

    assert run(talk) == {"text": ""}


def test_a_recording_that_is_too_long_is_refused_once_and_the_connection_goes_on() -> None:
    given = wyoming_config({"max_audio_s": 0.5}, stt=[Heard("short")])

    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            await send_audio(one, SECOND)
            first = await one.read_event()
            await send_audio(one, SECOND[:8000])
            return first, await until(one, "transcript-stop")

    first, rest = run(talk, given)
    assert first.data["code"] == "too-long" and "0.5 s" in first.data["text"]
    assert rest[-1].type == "transcript-stop"


def test_an_engine_that_fails_is_told_as_an_error_and_the_next_request_works() -> None:
    given = wyoming_config(stt=[EngineFailed("the ear is broken"), Heard("again")], llm=(), repeat=False)

    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            await send_audio(one, SECOND)
            first = await one.read_event()
            await send_audio(one, SECOND)
            return first, await until(one, "transcript")

    first, rest = run(talk, given)
    assert first.data == {"text": "the ear is broken", "code": "failed"}
    assert rest[-1].data["text"] == "again"


# -------------------------------------------------------------------------------------------------- tts


def test_a_text_is_spoken_as_home_assistant_asks_for_it() -> None:
    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            await one.write_event(Synthesize(text="It is noon.", voice=SynthesizeVoice(name="any")).event())
            return await until(one, "audio-stop")

    events = run(talk)
    assert kinds(events) == ["audio-start", "audio-chunk", "audio-stop"]
    form = {"rate": 24000, "width": 2, "channels": 1}
    assert all(form.items() <= event.data.items() for event in events[:-1])
    heard = np.frombuffer(sound(events), "<i2")
    assert len(heard) == pytest.approx(len("It is noon.") * 0.06 * 24000, rel=0.05) and np.abs(heard).max() > 3000
    stamps = [event.data["timestamp"] for event in events]
    assert stamps == sorted(stamps) and stamps[-1] == pytest.approx(660, abs=40)


def test_audio_leaves_while_the_rest_is_still_being_made() -> None:
    given = wyoming_config(tts=ScriptedTTS(chunk_delay_s=0.3, chunk_s=0.2))

    async def talk(address: Any, service: Any) -> Any:
        loop = asyncio.get_running_loop()
        async with client(address) as one:
            await one.write_event(Synthesize(text="It is noon, I think.").event())
            await until(one, "audio-chunk")
            first_s = loop.time()
            await until(one, "audio-stop")
            return loop.time() - first_s

    assert run(talk, given) > 0.8


def test_a_text_that_is_still_being_written_is_spoken_meanwhile() -> None:
    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            await one.write_event(SynthesizeStart(voice=SynthesizeVoice(name="any")).event())
            for piece in ("The first sentence is whole. ", "The second", " one is not"):
                await one.write_event(SynthesizeChunk(text=piece).event())
            early = await until(one, "audio-chunk")
            await one.write_event(SynthesizeChunk(text=" yet.").event())
            await one.write_event(Synthesize(text="all of it once more, for servers of old").event())
            await one.write_event(SynthesizeStop().event())
            return early + await until(one, "synthesize-stopped"), service.engines.tts._engine.calls

    events, calls = run(talk)
    assert kinds(events) == ["audio-start", "audio-chunk", "audio-stop", "synthesize-stopped"]
    assert " ".join(call.text.strip() for call in calls) == "The first sentence is whole. The second one is not yet."


def test_a_text_that_nobody_goes_on_with_is_said_as_far_as_it_came_and_then_is_idle() -> None:
    given = wyoming_config({"idle_s": 0.3}, tts=ScriptedTTS(chunk_delay_s=0.3, chunk_s=0.2))

    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            await one.write_event(SynthesizeStart().event())
            await one.write_event(SynthesizeChunk(text="The first sentence is whole. The second").event())
            events = await until(one)
        async with asyncio.timeout(60):
            await service.uses.those_of_now()
        return events

    events = run(talk, given)
    assert events[-1].data["code"] == "idle"
    assert len(sound(events)) / 2 / 24000 == pytest.approx(len("The first sentence is whole.") * 0.06, rel=0.1)


def test_a_text_is_spoken_to_its_end_by_the_voice_that_began_it() -> None:
    before, after = wyoming_config(tts=ScriptedTTS()), wyoming_config(tts=ScriptedTTS(rate_hz=16000))

    class Sent:
        async def send(self, *_: Event) -> None:
            pass

    async def main() -> None:
        async with operating(before, Service(before, source=lambda: after)) as service:
            sender: Any = Sent()
            spoken = SpokenText(service, sender, TTSOptions())
            await spoken.push("The first sentence is whole. The second")
            await service.reloading.reload()
            await spoken.push(" one is not yet.")
            await spoken.finish()

    run_virtual(main())
    old, new = [given.tts[0].options.engine.calls for given in (before, after)]  # type: ignore[attr-defined]
    assert " ".join(call.text.strip() for call in old) == "The first sentence is whole. The second one is not yet."
    assert not new


def test_silence_has_a_beginning_and_an_end() -> None:
    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            await one.write_event(Synthesize(text="...").event())
            return await until(one, "audio-stop")

    assert kinds(run(talk)) == ["audio-start", "audio-stop"]


def test_a_client_that_leaves_in_the_middle_is_not_spoken_to_any_longer() -> None:
    given = wyoming_config(tts=ScriptedTTS(chunk_delay_s=0.05, chunk_s=0.05))

    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            await one.write_event(Synthesize(text="A very long story about a lighthouse. " * 5).event())
            await until(one, "audio-chunk")
        (call,) = service.engines.tts._engine.calls
        async with asyncio.timeout(60):
            while call.outcome == "running":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return call.outcome

    assert run(talk, given) == "cancelled"


def test_clients_that_leave_at_any_moment_are_no_news(caplog: pytest.LogCaptureFixture) -> None:
    async def talk(address: Any, service: Any) -> None:
        for number in range(40):
            async with client(address) as one:
                await one.write_event(Synthesize(text="It is noon, I think.").event())
                if number % 4:
                    await until(one, "audio-chunk")
                if number % 2:
                    one._writer.transport.abort()
        async with client(address) as one:
            await one.write_event(Describe().event())
            assert (await one.read_event()).type == "info"

    with caplog.at_level("WARNING"):
        run(talk)
        gc.collect()
    assert [record.getMessage() for record in caplog.records] == []


def test_a_voice_that_means_nothing_here_is_told() -> None:
    given = wyoming_config(server={"aliases": {"voices": {"joe": "default"}}})

    async def talk(address: Any, service: Any) -> Any:
        found = []
        async with client(address) as one:
            for voice in ("joe", "nobody"):
                await one.write_event(Synthesize(text="Hello.", voice=SynthesizeVoice(name=voice)).event())
                found.append((await until(one, "audio-stop", "error"))[-1])
        return found

    known, unknown = run(talk, given)
    assert known.type == "audio-stop"
    assert unknown.data["code"] == "unknown-voice" and "'nobody'" in unknown.data["text"]


# ---------------------------------------------------------------------------------------------- handle


def ask(text: str, conversation: str | None) -> Event:
    return Transcript(
        text=text, language="en", context={"conversation_id": conversation} if conversation else None
    ).event()


def test_the_agent_answers_in_text_and_remembers_by_conversation_over_connections() -> None:
    given = wyoming_config(llm=lambda call: Reply.of(f"I have {len(call.messages)} messages."))

    async def talk(address: Any, service: Any) -> Any:
        found = []
        for conversation in ("a", "a", "b", None, None):
            async with client(address) as one:  # one connection a request, as Home Assistant does
                await one.write_event(ask("Hello?", conversation))
                events = await until(one, "handled")
                found.append((kinds(events), Handled.from_event(events[-1]).text))
        return found

    found = run(talk, given)
    assert [text for _, text in found] == [f"I have {count} messages." for count in (2, 4, 2, 2, 2)]
    assert found[0][0] == ["handled-start", "handled-chunk", "handled"]


async def answered(talks: Talks, conversation: str) -> str:
    return "".join([piece async for piece in talks.answer("Hello?", conversation)])


def test_a_conversation_that_cannot_be_ended_in_order_keeps_no_other_from_ending() -> None:
    ended = []

    async def broken() -> None:
        raise RuntimeError("the disk is full")

    async def end() -> None:
        ended.append("b")

    async def main() -> None:
        async with operating(wyoming_config()) as service, Talks(service) as talks:
            for name, closer in (("a", broken), ("b", end), ("c", broken)):
                if name == "c":
                    await asyncio.sleep(2 * KEPT_S)
                    assert ended == ["b"]
                await answered(talks, name)
                talks._kept[name].session.at_end(closer)

    run_virtual(main())


def test_questions_at_once_after_a_reload_go_on_with_one_conversation() -> None:
    before, after = (wyoming_config(llm=lambda call: Reply.of(f"{len(call.messages)} messages.")) for _ in range(2))
    ended = []

    async def slowly() -> None:
        await asyncio.sleep(1.0)
        ended.append("old")

    async def main() -> list[str]:
        async with operating(before, Service(before, source=lambda: after)) as service, Talks(service) as talks:
            first = await answered(talks, "a")
            talks._kept["a"].session.at_end(slowly)
            await service.reloading.reload()
            return [first, *await asyncio.gather(answered(talks, "a"), answered(talks, "a"))]

    assert run_virtual(main()) == ["2 messages.", "4 messages.", "6 messages."]
    assert ended == ["old"]


def test_an_answer_comes_piece_by_piece_and_ends() -> None:
    given = wyoming_config(llm=[Reply(("It ", "is ", "noon."), delta_delay_s=0.05)])

    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            await one.write_event(ask("What time is it?", None))
            return await until(one, "handled-stop")

    events = run(talk, given)
    assert "".join(event.data["text"] for event in events if event.type == "handled-chunk") == "It is noon."
    assert [event.type for event in events][-2:] == ["handled", "handled-stop"]


def test_an_agent_that_fails_is_told_and_can_be_asked_again() -> None:
    given = wyoming_config(llm=[EngineFailed("no idea"), Reply.of("It is noon.")], stt=(), repeat=False)

    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            await one.write_event(ask("What time is it?", "a"))
            first = await until(one, "error", "handled")
            await one.write_event(ask("What time is it?", "a"))
            return first[-1], (await until(one, "error", "handled"))[-1]

    first, second = run(talk, given)
    assert (first.type, first.data["code"]) == ("error", "failed") and "no idea" in first.data["text"]
    assert second.data["text"] == "It is noon."


def test_intents_are_none_of_ours() -> None:
    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            await one.write_event(Event("recognize", {"text": "turn on the light"}))
            return await one.read_event()

    assert run(talk).type == "not-recognized"


# ------------------------------------------------------------------------------------- what goes wrong


BAD = [
    (Event("synthesize", {}), "'text' is to be a text"),
    (Event("synthesize", {"text": ["a"]}), "'text' is to be a text"),
    (Event("synthesize", {"text": "a", "voice": 3}), "voice"),
    (Event("synthesize", {"text": "word " * 5000}), "longer than"),
    (Event("audio-chunk", {"rate": 16000, "width": 3, "channels": 1}, b"abc"), "3 bytes a sample"),
    (Event("audio-chunk", {"rate": "fast"}, b"abc"), "fast Hz"),
    (Event("audio-chunk", {"rate": 16000, "width": 2, "channels": 1}, b"abc"), "3 bytes do not divide"),
    (Event("transcribe", {"language": 7}), "language is a text"),
    (Event("transcribe", {"transcript_names": 5}), "lists of texts"),
    (Event("transcribe", {"transcript_terms": "Nabu"}), "lists of texts"),
    (Event("transcript", {"text": "  "}), "1 to 20000"),
    (Event("run-pipeline", {"start_stage": "tts", "end_stage": "asr"}), "run-pipeline"),
    (Event("run-pipeline", {"start_stage": "tts", "end_stage": "tts", "announce_text": 5}), "is to be a text"),
    (Event("run-pipeline", {}), "run-pipeline"),
    (Event("run-pipeline", {"start_stage": "wake", "end_stage": "wake"}), "from wake to wake is not made"),
]


def test_a_bad_event_is_told_and_the_next_one_is_good() -> None:
    async def talk(address: Any, service: Any) -> Any:
        found = []
        async with client(address) as one:
            for event, _ in BAD:
                await one.write_event(event)
                await one.write_event(Describe().event())
                found.append([await one.read_event(), await one.read_event()])
        return found

    for (event, told), (first, second) in zip(BAD, run(talk), strict=True):
        assert first.type == "error" and told in first.data["text"], event
        assert second.type == "info"


def test_events_that_are_unknown_or_late_are_passed_over() -> None:
    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            for event in (
                Event("played"), Event("streaming-started"), Event("from-the-future", {"x": 1}, b"abc"),
                Event("synthesize-chunk", {"text": "nobody began"}), Event("synthesize-stop"), AudioStop().event(),
                Describe().event(),
            ):  # fmt: skip
                await one.write_event(event)
            return await one.read_event()

    assert run(talk).type == "info"


BROKEN = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\n",
    b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 21\r\n\r\n{"type": "describe"}\n',
    b"[1, 2]\n", b'{"type": 3}\n', b'{"data": {}}\n',
    b'{"type": "describe", "data": 7}\n', b'{"type": "describe", "data_length": -1}\n',
    b'{"type": "describe", "data_length": true}\n', b'{"type": "audio-chunk", "payload_length": 99999999999}\n',
    b'{"type": "describe", "data_length": 2}\n[]', b"[" * 100_000 + b"\n", b"x" * 2_000_000, b"\xff\xfe\n",
]  # fmt: skip


def test_what_is_no_event_is_told_and_the_connection_closed() -> None:
    async def last_words(address: Any, data: bytes) -> Any:
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(data)
            async with asyncio.timeout(60):
                header = json.loads(await reader.readline())
                body = json.loads(await reader.readexactly(header["data_length"]))
                return header["type"], body["code"], await reader.read()
        finally:
            writer.transport.abort()

    async def talk(address: Any, service: Any) -> Any:
        found = [await last_words(address, data) for data in BROKEN]
        async with client(address) as one:
            await one.write_event(Describe().event())
            assert (await one.read_event()).type == "info"  # others are served
        return found

    for data, found in zip(BROKEN, run(talk), strict=True):
        assert found == ("error", "bad-event", b""), data[:50]


def test_half_an_event_and_then_nothing_is_no_harm() -> None:
    async def talk(address: Any, service: Any) -> None:
        for data in (b'{"type": "audio-chunk", "payload_length": 100}\nabc', b'{"type": "syn', b""):
            _, writer = await asyncio.open_connection(*address)
            writer.write(data)
            await writer.drain()
            writer.transport.abort()
        async with client(address) as one:
            await one.write_event(Describe().event())
            assert (await one.read_event()).type == "info"

    run(talk)


# ---------------------------------------------------------------------------------------------- limits


def test_one_connection_too_many_is_told_so() -> None:
    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one, client(address) as other:
            await one.write_event(Describe().event())
            await one.read_event()
            refused = await until(other, "error")
            assert await other.read_event() is None
        async with asyncio.timeout(60):
            while True:
                async with client(address) as third:
                    await third.write_event(Describe().event())
                    if (event := await third.read_event()) is not None and event.type == "info":
                        return refused[0]

    assert run(talk, wyoming_config({"max_connections": 1})).data["code"] == "full"


def test_an_idle_connection_is_closed_and_a_busy_one_is_not() -> None:
    given = wyoming_config({"idle_s": 0.3}, tts=ScriptedTTS(chunk_delay_s=0.2, chunk_s=0.1))

    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            await one.write_event(Synthesize(text="It is noon.").event())
            return await until(one)

    events = run(talk, given)
    assert kinds(events) == ["audio-start", "audio-chunk", "audio-stop", "error"]
    assert events[-1].data["code"] == "idle"


def test_at_the_end_what_is_under_way_is_finished_and_nothing_more_is_taken() -> None:
    given = wyoming_config(tts=ScriptedTTS(chunk_delay_s=0.1, chunk_s=0.1))

    async def main() -> Any:
        from antiphon.server.fronts import Fronts

        fronts = Fronts(given)
        address = fronts.addresses["wyoming"]
        async with Service(given) as service:
            await service.load()
            async with fronts.open(service), client(address) as one, client(address) as idle:
                await one.write_event(Synthesize(text="It is noon.").event())
                await until(one, "audio-chunk")
                await idle.write_event(Describe().event())
                await idle.read_event()
                draining = asyncio.create_task(fronts.drain(5.0))
                rest = await until(one)
                ended = await idle.read_event()
                await draining
                with pytest.raises(OSError):
                    await asyncio.open_connection(*address)
                return rest, ended

    rest, ended = run_networked(main())
    assert rest[-1].type == "audio-stop" and ended is None


def test_a_server_that_is_loading_or_shutting_down_says_so() -> None:
    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            service.draining = True
            await one.write_event(Synthesize(text="Hello").event())
            return await one.read_event()

    assert run(talk).data["code"] == "draining"


def test_an_address_that_others_reach_is_refused_unless_it_is_said_to_be_open() -> None:
    with pytest.raises(ConfigError, match="no keys to ask for") as caught:
        listen_tcp(wyoming_config({"host": "0.0.0.0"}).server.wyoming, 0, "server.wyoming")
    assert caught.value.key == "server.wyoming.host"
    open_to_all = wyoming_config({"host": "0.0.0.0", "allowed_addresses": ["10.0.0.0/8"]}).server.wyoming
    listen_tcp(open_to_all, 0, "server.wyoming").close()
    with listen_tcp(wyoming_config().server.wyoming, 0, "server.wyoming") as taken:
        with pytest.raises(ConfigError, match="is taken by another program"):
            listen_tcp(wyoming_config().server.wyoming, taken.getsockname()[1], "server.wyoming")


def test_many_clients_at_once_do_not_mix() -> None:
    async def talk(address: Any, service: Any) -> Any:
        async def one_of(number: int) -> int:
            async with client(address) as one:
                await one.write_event(Synthesize(text="x" * number).event())
                return len(sound(await until(one, "audio-stop")))

        return await asyncio.gather(*(one_of(number) for number in range(1, 17)))

    sizes = run(talk)
    assert sizes == sorted(sizes) and len(set(sizes)) == 16
    assert RATE_HZ == FORM["rate"]


def test_audio_start_alone_does_nothing() -> None:
    async def talk(address: Any, service: Any) -> Any:
        async with client(address) as one:
            await one.write_event(AudioStart(**FORM).event())
            await one.write_event(Describe().event())
            return await one.read_event()

    assert run(talk).type == "info"
