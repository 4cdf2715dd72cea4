"""Calls by a media stream, on scripted engines and a virtual clock: whole conversations without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given as given_that
from hypothesis import settings as settings_of
from hypothesis import strategies as st
from served import config
from telephone import TwilioLine

from antiphon.engines.testing import Heard, Reply, ScriptedTTS, run_virtual
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config import Config
from antiphon.pipeline.events import Event, Interrupted, KeyPressed, TranscriptEvent, TurnEnded
from antiphon.server import g711
from antiphon.server.peer import Peer
from antiphon.server.telephony.marks import TOLERANCE_S, MarkClock
from antiphon.server.telephony.signature import signature, signed
from antiphon.server.telephony.twilio import FRAMES, BadStream, TwilioConnection

LONG = "One two three four five six seven eight nine ten. " * 4


class Call:
    """A line, the events of its session, and how it ended."""

    def __init__(self, latency_s: float) -> None:
        self.line = TwilioLine(latency_s)
        self.events: list[Event] = []
        self.person: str | None = None

    def texts(self, role: str) -> list[str]:
        said = [event for event in self.events if isinstance(event, TranscriptEvent) and event.final]
        return [event.text for event in said if event.role == role]

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def call(
    talk: Callable[[TwilioLine], Awaitable[None]],
    settings: Config | None = None,
    *,
    latency_s: float = 0.05,
    parameters: dict[str, Any] | None = None,
) -> Call:
    """A call in which the caller does `talk` and then hangs up.

    :param parameters: what the TwiML gives along.
    """

    async def main() -> Call:
        made = Call(latency_s)
        line = made.line
        settled = settings or config()
        async with Assembly(settled) as assembly:

            def new_session(transport: Any, *, sinks: Any, **arguments: Any) -> Any:
                made.person = arguments["person"]
                return assembly.session(transport, sinks=[*sinks, made.events.append], **arguments)

            connection = TwilioConnection(new_session, Peer(line.receive, line.send), settled.session)
            serving = asyncio.create_task(connection.run())
            line.begin(parameters=parameters)
            await talk(line)
            line.hang_up()
            async with asyncio.timeout(60):
                await serving
            line.close()
        return made

    return run_virtual(main())


# ------------------------------------------------------------------------------------------ a call


def test_a_question_is_answered_in_mu_law() -> None:
    async def talk(line: TwilioLine) -> None:
        await line.be_silent(0.3)
        await line.speak(1.0)
        await line.be_silent(2.5)

    made = call(talk)
    assert made.texts("user") == ["what time is it"] and made.texts("assistant") == ["It is noon."]
    heard = g711.decode(made.line.played, "mulaw")
    assert len(heard) / 8000 == pytest.approx(0.66, abs=0.01) and np.abs(heard).max() > 0.1
    marks = [message for message in made.line.messages if message["event"] == "mark"]
    assert 4 <= len(marks) <= 6, "one behind every 200 ms"


@pytest.mark.parametrize("latency_s", [0.0, 0.05, 0.25])
def test_what_was_heard_of_an_interrupted_reply_is_what_the_line_has_played(latency_s: float) -> None:
    async def talk(line: TwilioLine) -> None:
        await line.speak(1.0)
        await line.be_silent(3.0)
        await line.speak(1.2)
        await line.be_silent(1.0)

    made = call(talk, config(llm=[Reply.of(LONG)]), latency_s=latency_s)
    estimated, acknowledged = made.of(Interrupted)[0], made.of(Interrupted)[-1]
    assert not estimated.acknowledged and acknowledged.acknowledged
    (played_s,) = made.line.heard_s[:1]
    spoken = LONG[: round(played_s / 0.06)]  # each character takes 60 ms
    assert acknowledged.heard.strip() and spoken.startswith(acknowledged.heard.strip())
    assert len(spoken) - len(acknowledged.heard.strip()) < 10, "to the word"
    assert made.texts("user") == ["what time is it"] * 2
    assert [message["event"] for message in made.line.messages].count("clear") == 1


def test_a_cough_into_a_reply_loses_none_of_it() -> None:
    story = "A long story. " * 8

    async def talk(line: TwilioLine) -> None:
        await line.speak(1.0)
        await line.be_silent(2.5)
        await line.speak(0.2)
        await line.be_silent(9.0)

    tts = ScriptedTTS()
    heard = [Heard("what time is it", 0.1), Heard("", 0.05)]
    made = call(talk, config(stt=heard, llm=[Reply.of(story)], tts=tts, repeat=False))
    assert made.texts("assistant") == [story]
    assert made.line.played_s == pytest.approx(sum(len(said.text) for said in tts.calls) * 0.06, abs=0.05)
    assert made.of(Interrupted) == []


def test_the_end_of_the_conversation_is_heard_before_the_stream_is_closed() -> None:
    async def main() -> tuple[float, float]:
        line = TwilioLine(0.3)
        settled = config(session={"greeting": "Goodbye, and thank you for calling.", "on_error": ""})
        async with Assembly(settled) as assembly:
            sessions: list[Any] = []

            def new_session(transport: Any, **arguments: Any) -> Any:
                sessions.append(assembly.session(transport, **arguments))
                return sessions[-1]

            connection = TwilioConnection(new_session, Peer(line.receive, line.send), settled.session)
            serving = asyncio.create_task(connection.run())
            line.begin()
            await line.be_silent(0.5)
            connection.close()
            silence = asyncio.create_task(line.be_silent(10))
            await serving
            silence.cancel()
            line.close()
            return line.played_s, len("Goodbye, and thank you for calling.") * 0.06

    played_s, whole_s = run_virtual(main())
    assert played_s == pytest.approx(whole_s, abs=0.1)


# ------------------------------------------------------------------------------------- parameters


async def one_question(line: TwilioLine) -> None:
    await line.speak(1.0)
    await line.be_silent(2.5)


def test_what_the_twiml_gives_along_says_whose_call_it_is_and_how_to_answer() -> None:
    given = {"person": "+15550100", "instructions": "The caller is Jane.", "FirstName": "Jane"}
    made = call(one_question, config(llm=lambda asked: Reply.of(asked.messages[0].content)), parameters=given)
    assert made.person == "+15550100"
    assert made.texts("assistant") == ["The caller is Jane."]


@pytest.mark.parametrize(
    "given",
    [
        {"person": ["a"], "instructions": 7},
        {"person": "x" * 201, "instructions": "x" * 20_001},
        {"person": " ", "instructions": ""},
    ],
)
def test_parameters_that_cannot_be_used_are_left_out_and_the_call_is_held(given: dict[str, Any]) -> None:
    made = call(one_question, config(llm=lambda asked: Reply.of(asked.messages[0].content)), parameters=given)
    assert made.person is None
    assert made.texts("assistant") == ["Be brief."]


# ----------------------------------------------------------------------------------------- keypad


def test_digits_that_end_with_a_hash_are_a_turn_and_each_key_is_an_event() -> None:
    async def talk(line: TwilioLine) -> None:
        await line.be_silent(0.5)
        line.press("1", "2", "3", "#")
        await line.be_silent(2.0)

    made = call(talk, config(stt=(), llm=lambda asked: Reply.of(f"You pressed {asked.messages[-1].content}.")))
    assert [event.key for event in made.of(KeyPressed)] == ["1", "2", "3", "#"]
    assert made.texts("user") == ["123"] and made.texts("assistant") == ["You pressed 123."]
    assert made.line.played_s > 0.5


def test_a_pause_completes_a_number_and_the_words_are_configured() -> None:
    async def talk(line: TwilioLine) -> None:
        await line.be_silent(0.5)
        for digit in ("4", "2"):
            line.press(digit)
            await line.be_silent(0.4)
        await line.be_silent(2.0)
        line.press("#")
        await line.be_silent(2.0)

    session = {"on_error": "", "keys_pause_s": 0.8, "keys_text": "I pressed {keys} on my telephone."}
    made = call(talk, config(stt=(), session=session))
    assert made.texts("user") == ["I pressed 42 on my telephone.", "I pressed # on my telephone."]


def test_the_first_key_silences_the_agent() -> None:
    async def talk(line: TwilioLine) -> None:
        await line.speak(1.0)
        await line.be_silent(2.0)
        line.press("7")
        await line.be_silent(0.3)
        line.press("#")
        await line.be_silent(2.0)

    made = call(talk, config(llm=lambda asked: Reply.of(LONG if len(asked.messages) < 4 else "Seven.")))
    assert made.line.heard_s and made.line.heard_s[0] < 2.5
    assert [event.status for event in made.of(TurnEnded)] == ["interrupted", "completed"]
    assert made.texts("assistant")[-1] == "Seven."


def test_keys_can_be_events_and_no_more() -> None:
    async def talk(line: TwilioLine) -> None:
        await line.be_silent(0.5)
        line.press("1", "#", "x", "1#")
        await line.be_silent(3.0)

    made = call(talk, config(stt=(), llm=(), session={"on_error": "", "keys": "ignore"}, repeat=False))
    assert [event.key for event in made.of(KeyPressed)] == ["1", "#"] and made.texts("user") == []


# ------------------------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize(
    "message",
    [
        "", "{", "[]", '"media"', '{"event": "from-the-future", "x": 1}', '{"event": "media"}', '{"media": {}}',
        '{"event": "media", "media": {"payload": "%%%"}}', '{"event": "media", "media": {"payload": 7}}',
        '{"event": "media", "media": {"payload": ""}}', '{"event": "mark", "mark": {"name": "never sent"}}',
        '{"event": "dtmf", "dtmf": {"digit": ""}}', '{"event": "connected"}',
        '{"event": "media", "media": {"track": "outbound", "payload": "gICA"}}',
    ],
)  # fmt: skip
def test_a_message_that_makes_no_sense_is_dropped_and_the_call_goes_on(message: str) -> None:
    async def talk(line: TwilioLine) -> None:
        await line.be_silent(0.3)
        line.to_server.put_nowait(message)
        await line.speak(1.0)
        await line.be_silent(2.5)

    assert call(talk).texts("assistant") == ["It is noon."]


def begun(messages: list[dict[str, Any]], *, leave: bool = True) -> Any:
    async def main() -> Any:
        line = TwilioLine(0.0)
        settled = config(stt=(), llm=(), repeat=False)
        async with Assembly(settled) as assembly:
            connection = TwilioConnection(assembly.session, Peer(line.receive, line.send), settled.session)
            for message in messages:
                line.to_server.put_nowait(json.dumps(message))
            if leave:
                line.leave()
            return await connection.run()

    return run_virtual(main())


def start(**form: Any) -> dict[str, Any]:
    media = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1, **form}
    return {"event": "start", "start": {"streamSid": "MZ1", "mediaFormat": media}}


def test_a_stream_that_does_not_begin_as_one_is_refused() -> None:
    for form in ({"encoding": "audio/x-l16"}, {"sampleRate": 16000}, {"channels": 2}):
        with pytest.raises(BadStream, match="is not read; audio/x-mulaw at 8000 Hz"):
            begun([{"event": "connected"}, start(**form)])
    with pytest.raises(BadStream, match="first messages"):
        begun([{"event": "media", "media": {"payload": "gICA"}}])
    with pytest.raises(BadStream, match="no 'start' within"):
        begun([{"event": "connected"}], leave=False)
    assert begun([{"event": "connected"}, {"event": "stop"}]) is None
    assert begun([]) is None


def test_the_networks_own_examples_are_understood() -> None:
    examples = [
        '{"event":"connected","protocol":"Call","version":"1.0.0"}',
        '{"event":"start","sequenceNumber":"1","start":{"accountSid":"AC0","streamSid":"MZ0","callSid":"CA0","tracks":'
        '["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1},"customParameters":'
        '{"FirstName":"Jane"}},"streamSid":"MZ0"}',
        '{"event":"media","sequenceNumber":"3","media":{"track":"inbound","chunk":"1","timestamp":"5","payload":"no+J"},'
        '"streamSid":"MZ0"}',
        '{"event":"stop","sequenceNumber":"5","stop":{"accountSid":"AC0","callSid":"CA0"},"streamSid":"MZ0"}',
        '{"event":"dtmf","streamSid":"MZ0","sequenceNumber":"5","dtmf":{"track":"inbound_track","digit":"1"}}',
        '{"event":"mark","sequenceNumber":"4","streamSid":"MZ0","mark":{"name":"my label"}}',
    ]
    kinds = [FRAMES.validate_json(example).event for example in examples]
    assert kinds == ["connected", "start", "media", "stop", "dtmf", "mark"]


# ------------------------------------------------------------------------------------------- marks


@settings_of(max_examples=50)
@given_that(
    pieces=st.lists(st.floats(0.05, 1.0), min_size=1, max_size=12),
    out_s=st.floats(0.001, 0.4),
    back_s=st.floats(0.001, 0.4),
    clear_at_s=st.floats(0.0, 8.0),
    after=st.lists(st.floats(0.05, 0.5), max_size=3),
)
def test_marks_tell_what_was_played_whatever_the_way_there_and_back(
    pieces: list[float], out_s: float, back_s: float, clear_at_s: float, after: list[float]
) -> None:
    """A line that plays in order, and one `clear`: with a steady way, what was played is known exactly."""
    clock = MarkClock()
    names = [clock.sent(seconds, 0.0) for seconds in pieces]
    ends = np.cumsum(pieces)
    cleared_there_s = clear_at_s + out_s
    returns: list[tuple[float, str]] = []
    for name, end in zip(names, ends, strict=True):
        returns.append((min(out_s + float(end), cleared_there_s) + back_s, name))
    before = [(at_s, name) for at_s, name in returns if at_s <= clear_at_s]
    for at_s, name in before:
        assert clock.returned(name, at_s)
    pending = clock.cleared(clear_at_s)
    assert pending == (len(before) < len(returns))
    played_s = min(float(ends[-1]), max(0.0, clear_at_s))
    more = [clock.sent(seconds, clear_at_s) for seconds in after]
    for at_s, name in returns[len(before) :]:
        assert clock.returned(name, at_s)
    if not more:
        assert clock.played_s(99.0) == pytest.approx(played_s, abs=len(pieces) * TOLERANCE_S + 1e-6)
    for number, name in enumerate(more):
        at_s = cleared_there_s + sum(after[: number + 1]) + back_s
        assert clock.returned(name, at_s)
    assert clock.waiting == 0
    whole_s = played_s + sum(after)
    assert clock.played_s(99.0) == pytest.approx(whole_s, abs=len(pieces) * TOLERANCE_S + 1e-6)


def test_between_two_marks_time_tells_and_never_more_than_was_sent() -> None:
    clock = MarkClock()
    first, second = clock.sent(1.0, 10.0), clock.sent(1.0, 10.0)
    assert clock.played_s(10.4) == pytest.approx(0.4)
    assert clock.played_s(19.0) == 1.0, "its mark has not come back"
    assert not clock.returned("never sent", 11.0)
    assert clock.returned(first, 11.1) and clock.played_s(11.1) == 1.0
    assert clock.returned(second, 12.1) and not clock.returned(second, 12.2)
    assert clock.played_s(99.0) == 2.0


def test_marks_whose_return_was_lost_are_not_waited_for() -> None:
    clock = MarkClock()
    clock.sent(0.5, 0.0)
    last = clock.sent(0.5, 0.0)
    assert clock.returned(last, 1.0) and clock.waiting == 0 and clock.played_s(1.0) == 1.0


# --------------------------------------------------------------------------------------- signature


def test_the_signature_is_the_networks() -> None:
    url = "wss://calls.example/v1/telephony/twilio"
    right = signature("12345678", url)
    assert signed("12345678", url, right)
    assert signed("12345678", "wss://calls.example:443/v1/telephony/twilio", right)
    assert signed("12345678", url, signature("12345678", "wss://calls.example:443/v1/telephony/twilio"))
    assert signed("12345678", url, signature("12345678", f"{url}/")), "some networks sign a last slash, too"
    assert signed("12345678", f"{url}/", right)
    assert not signed("12345679", url, right)
    assert not signed("12345678", "wss://other.example/v1/telephony/twilio", right)
    assert not signed("12345678", url, "") and not signed("12345678", url, "é")
