"""The sound of items, as clients get it back: scripted engines, a virtual clock."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from realtime_call import Caller, call
from realtime_client import TONE, RealtimeClient, config, talk_to

from antiphon.engines.audio import AudioFrame
from antiphon.engines.testing import Heard, Reply
from antiphon.pipeline.config import Config, SpeculationConfig
from antiphon.server import g711
from antiphon.server.realtime.protocol import AudioFormat
from antiphon.server.realtime.sounds import WAIT_S, Recorder, Sound, Sounds, encoded, joined

LONG = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen."
PCM = AudioFormat("audio/pcm")


async def one_turn(client: RealtimeClient, count: int = 1) -> None:
    await client.speak(1.0)
    await client.be_silent(2.0)
    await client.wait_for("response.done", count)


async def retrieve(client: RealtimeClient, item_id: str) -> dict[str, Any]:
    """The part of an item that was said."""
    client.tell("conversation.item.retrieve", item_id=item_id)
    found = await client.wait_for("conversation.item.retrieved", len(client.of("conversation.item.retrieved")) + 1)
    return dict(found["item"]["content"][0])


def sound_of(part: dict[str, Any]) -> bytes:
    return base64.b64decode(part["audio"])


def seconds(part: dict[str, Any]) -> float:
    return len(sound_of(part)) / 2 / 24000


def of_user(client: RealtimeClient, turn: int = 0) -> str:
    return str(client.of("input_audio_buffer.committed")[turn]["item_id"])


def of_assistant(client: RealtimeClient, response: int = 0) -> str:
    return str(client.of("response.output_item.added")[response]["item"]["id"])


def ask_for_both(given: Any = None, *, before: dict[str, Any] | None = None) -> tuple[RealtimeClient, list[Any]]:
    parts: list[Any] = []

    async def talk(client: RealtimeClient) -> None:
        if before:
            client.update(**before)
        await one_turn(client)
        parts.extend([await retrieve(client, of_user(client)), await retrieve(client, of_assistant(client))])

    client = talk_to(talk, given)
    assert client.problems == []
    return client, parts


def test_both_sides_of_a_turn() -> None:
    client, (user, assistant) = ask_for_both()
    assert user["transcript"] == "what time is it" and assistant["transcript"] == "It is noon."
    assert 1.2 < seconds(user) < 1.6, "the voice, a moment before it and one behind"
    heard = np.frombuffer(sound_of(user), "<i2")
    spoken = np.flatnonzero(np.abs(heard) > 1000)
    assert (spoken[-1] - spoken[0]) / 24000 == pytest.approx(1.0, abs=0.001), "none of it is missing"
    begins = np.flatnonzero(heard)[0]
    np.testing.assert_array_equal(heard[begins : begins + 400], TONE[1:401])
    assert sound_of(assistant) == client.audio, "what was sent"


def test_in_the_formats_of_the_session_each_way() -> None:
    form = {"output": {"format": {"type": "audio/pcmu"}}}
    client, (user, assistant) = ask_for_both(before={"audio": form})
    assert 1.2 < seconds(user) < 1.6, "the input's format is PCM"
    assert sound_of(assistant) == client.audio and len(client.audio) < 2 * 8000


def test_in_the_format_that_is_effective_now() -> None:
    async def talk(client: RealtimeClient) -> None:
        await one_turn(client)
        client.update(audio={"input": {"format": {"type": "audio/pcma"}}, "output": {"format": {"type": "audio/pcma"}}})
        user, assistant = await retrieve(client, of_user(client)), await retrieve(client, of_assistant(client))
        assert 1.2 < len(sound_of(user)) / 8000 < 1.6
        assert len(sound_of(assistant)) == pytest.approx(len(client.audio) / 6, abs=80)
        loud = np.abs(g711.decode(sound_of(user), "alaw"))
        assert loud.max() == pytest.approx(0.3, abs=0.02)

    assert talk_to(talk).problems == []


def test_what_a_client_records_itself_comes_back_as_it_was() -> None:
    recording = (0.2 * 32767 * np.random.default_rng(1).standard_normal(12000)).clip(-32768, 32767).astype("<i2")

    async def talk(client: RealtimeClient) -> None:
        client.detect(None)
        client.append(recording)
        client.tell("input_audio_buffer.commit")
        await client.wait_for("conversation.item.input_audio_transcription.completed")
        assert sound_of(await retrieve(client, of_user(client))) == recording.tobytes()

    assert talk_to(talk).problems == []


def test_what_a_client_puts_into_an_item_comes_back_as_it_was() -> None:
    law = g711.encode(np.linspace(-0.5, 0.5, 1600, dtype=np.float32), "mulaw")
    content = [{"type": "input_audio", "audio": base64.b64encode(law).decode()}]

    async def talk(client: RealtimeClient) -> None:
        client.update(audio={"input": {"format": {"type": "audio/pcmu"}}})
        client.tell(
            "conversation.item.create", item={"type": "message", "role": "user", "id": "mine", "content": content}
        )
        await client.wait_for("conversation.item.input_audio_transcription.completed")
        assert sound_of(await retrieve(client, "mine")) == law

    assert talk_to(talk).problems == []


def test_words_that_were_typed_or_are_for_reading_have_no_sound() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.write("Hello", item={"id": "typed"})
        client.respond(output_modalities=["text"])
        await client.wait_for("response.done")
        for item in ("typed", of_assistant(client)):
            assert "audio" not in await retrieve(client, item)

    assert talk_to(talk).problems == []


def test_where_nothing_is_kept_there_are_the_words() -> None:
    _, (user, assistant) = ask_for_both(config({"realtime": {"keep_audio_s": 0}}))
    assert "audio" not in user and "audio" not in assistant and user["transcript"] == "what time is it"


def test_the_oldest_lose_theirs_first() -> None:
    async def talk(client: RealtimeClient) -> None:
        for count in (1, 2, 3):
            await one_turn(client, count)
        kept = ["audio" in await retrieve(client, of_user(client, turn)) for turn in range(3)]
        assert kept == [False, False, True]
        assert "audio" in await retrieve(client, of_assistant(client, 2))

    assert talk_to(talk, config({"realtime": {"keep_audio_s": 3}})).problems == []


def test_one_that_is_longer_than_the_bound_has_none_rather_than_a_part() -> None:
    _, (user, assistant) = ask_for_both(config({"realtime": {"keep_audio_s": 1.7}}, llm=[Reply.of(LONG)]))
    assert "audio" not in assistant and "audio" not in user and assistant["transcript"] == LONG


@pytest.mark.parametrize("speech_s", [3.0, 9.0])
def test_nor_has_what_the_user_says_and_it_pushes_out_nothing(speech_s: float) -> None:
    async def talk(client: RealtimeClient) -> None:
        await one_turn(client)
        await client.speak(speech_s)
        await client.be_silent(2.0)
        await client.wait_for("response.done", 2)
        kept = ["audio" in await retrieve(client, of_user(client, turn)) for turn in range(2)]
        assert kept == [True, False]

    assert talk_to(talk, config({"realtime": {"keep_audio_s": 3.2}})).problems == []


@pytest.mark.parametrize(("first_s", "second_s"), [(8.6, 0.6), (0.6, 8.6)])
def test_a_turn_that_goes_on_is_kept_with_both_parts_or_not_at_all(first_s: float, second_s: float) -> None:
    async def talk(client: RealtimeClient) -> None:
        await client.speak(first_s)
        await client.be_silent(0.55)
        await client.speak(second_s)
        await client.be_silent(2.0)
        await client.wait_for("response.done", 2)
        part = await retrieve(client, of_user(client, 1))
        assert part["transcript"] == "I want a pizza" and "audio" not in part

    given = config(
        {"realtime": {"keep_audio_s": 3}},
        stt=[Heard("I want"), Heard("I want a pizza")],
        llm=[Reply.of("What?", first_delay_s=0.5), Reply.of("Here.")],
    )
    assert talk_to(talk, given).problems == []


def test_what_was_cut_has_the_sound_that_was_heard() -> None:
    async def talk(client: RealtimeClient) -> None:
        await one_turn(client)
        await client.speak(0.8)
        await client.wait_for("input_audio_buffer.speech_started", 2)
        await client.be_silent(2.0)
        await client.wait_for("response.done", 2)
        item = of_assistant(client)
        by_estimate = sound_of(await retrieve(client, item))
        assert client.audio.startswith(by_estimate) and 1.0 < len(by_estimate) / 48000 < 3.0
        client.tell("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=450)
        await client.wait_for("conversation.item.truncated")
        exactly = await retrieve(client, item)
        assert seconds(exactly) == pytest.approx(0.45) and exactly["transcript"] == "One two"
        assert client.audio.startswith(sound_of(exactly))
        client.tell("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=0)
        await client.wait_for("conversation.item.truncated", 2)
        assert "audio" not in await retrieve(client, item), "nothing of it was heard"

    given = config(stt=[Heard("count"), Heard("stop it please")], llm=[Reply.of(LONG), Reply.of("All right.")])
    assert talk_to(talk, given).problems == []


def test_truncated_while_it_is_being_made() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.write("Talk")
        client.respond()
        await client.wait_for("response.output_audio.delta")
        await asyncio.sleep(1.0)
        client.tell("conversation.item.truncate", item_id=of_assistant(client), content_index=0, audio_end_ms=450)
        await client.wait_for("response.done")
        await asyncio.sleep(0.1)
        assert seconds(await retrieve(client, of_assistant(client))) == pytest.approx(0.45)

    assert talk_to(talk, config(llm=[Reply.of("Well. " * 100, delta_delay_s=0.2)])).problems == []


def test_deleted_items_lose_their_sound_also_while_they_are_being_said() -> None:
    connections: list[Any] = []

    async def talk(caller: Caller) -> None:
        connections.append(caller.connection)
        await caller.speak(1.0)
        await caller.be_silent(1.5)
        await caller.wait_for("response.output_item.added")
        await caller.be_silent(0.5)
        sounds = caller.connection._book.sounds
        assert len(sounds) == 2
        for item in (of_user(caller), of_assistant(caller)):
            caller.tell("conversation.item.delete", item_id=item)
        await caller.wait_for("conversation.item.deleted", 2)
        await caller.be_silent(3.0)
        assert len(sounds) == 0 and sounds.seconds == pytest.approx(0.0, abs=1e-9)

    call(talk, config(llm=[Reply.of("Well. " * 10, delta_delay_s=0.2)]))


def test_a_turn_that_goes_on_has_both_parts() -> None:
    async def talk(client: RealtimeClient) -> None:
        await client.speak(1.0)
        await client.be_silent(0.55)
        await client.speak(0.6)
        await client.be_silent(2.0)
        await client.wait_for("response.done", 2)
        heard = np.frombuffer(sound_of(await retrieve(client, of_user(client, 1))), "<i2")
        assert np.count_nonzero(np.abs(heard) > 300) > 0.95 * 1.6 * 24000
        assert sound_of(await retrieve(client, of_assistant(client, 1)))
        client.tell("conversation.item.retrieve", item_id=of_user(client, 0))
        await client.wait_for("conversation.item.retrieved", 3)
        assert "audio" not in client.of("conversation.item.retrieved")[2]["item"]["content"][0]

    given = config(
        stt=[Heard("I want"), Heard("I want a pizza")],
        llm=[Reply.of("What?", first_delay_s=0.5), Reply.of("Here.")],
    )
    assert talk_to(talk, given).problems == []


def heard_before_it_goes_on(keep_audio_s: float = 60) -> Config:
    """Of the first answer, which is taken back, something is heard."""
    return config(
        {"realtime": {"keep_audio_s": keep_audio_s}},
        stt=[Heard("I want"), Heard("I want a pizza"), Heard("stop it please")],
        llm=[Reply.of(LONG), Reply.of(LONG), Reply.of("All right.")],
        sections={"speculation": SpeculationConfig(rerun_ms=0, reopen_ms=1500)},
    )


async def have_it_go_on(client: RealtimeClient, sounding: str) -> None:
    """
    :param sounding: the event that tells of sound.
    """
    await client.speak(1.0)
    while not client.of(sounding):
        await client.be_silent(0.02)
    await client.be_silent(0.4)
    await client.speak(0.6)
    await client.be_silent(2.5)
    assert client.of("conversation.item.deleted")


@pytest.mark.parametrize("keep_audio_s", [60, 0])
def test_of_the_answer_to_a_turn_that_went_on_what_was_heard_counts_from_its_own_beginning(keep_audio_s: float) -> None:
    async def talk(client: RealtimeClient) -> None:
        await have_it_go_on(client, "response.output_audio.delta")
        await client.wait_for("response.done", 2)
        await client.speak(0.8)
        await client.be_silent(2.0)
        await client.wait_for("response.done", 3)
        item = of_assistant(client, 1)
        client.tell("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=900)
        part = await retrieve(client, item)
        assert part["transcript"] == "One two three"
        assert not keep_audio_s or seconds(part) == pytest.approx(0.9)

    given = heard_before_it_goes_on(keep_audio_s)
    assert talk_to(talk, given).problems == []


@pytest.mark.parametrize("keep_audio_s", [60, 0])
def test_so_it_does_in_a_call(keep_audio_s: float) -> None:
    heard_s: list[float] = []

    async def talk(caller: Caller) -> None:
        async def dropped() -> None:
            await caller.wait_for("conversation.item.deleted")
            heard_s.append(caller.transport.heard_s(1))

        at_the_dropping = asyncio.create_task(dropped())
        await have_it_go_on(caller, "output_audio_buffer.started")
        await at_the_dropping
        await caller.speak(0.8)
        await caller.be_silent(2.0)
        await caller.wait_for("conversation.item.truncated")
        heard_s.append(caller.transport.heard_s(1))
        ask = json.dumps({"type": "conversation.item.retrieve", "item_id": of_assistant(caller, 1)})
        await caller.connection.receive(ask, lambda _: None)
        await caller.wait_for("conversation.item.retrieved")

    caller = call(talk, heard_before_it_goes_on(keep_audio_s))
    of_both_s, [cut] = heard_s[1], caller.of("conversation.item.truncated")
    assert heard_s[0] > 0.4 and cut["item_id"] == of_assistant(caller, 1)
    assert cut["audio_end_ms"] == pytest.approx(1000 * (of_both_s - heard_s[0]), abs=1)
    part = caller.of("conversation.item.retrieved")[0]["item"]["content"][0]
    assert not keep_audio_s or seconds(part) == pytest.approx(of_both_s - heard_s[0], abs=0.001)


def test_beside_a_call_it_is_asked_for_alike() -> None:
    beside: list[Any] = []

    async def talk(caller: Caller) -> None:
        await one_turn(caller)
        await caller.be_silent(1.0)
        assert "audio" not in await retrieve(caller, of_user(caller)), "a data channel gets words alone"
        for item in (of_user(caller), of_assistant(caller)):
            ask = json.dumps({"type": "conversation.item.retrieve", "item_id": item})
            await caller.connection.receive(ask, beside.append)
        await caller.wait_for("conversation.item.retrieved", 3)

    caller = call(talk)
    user, assistant = (event["item"]["content"][0] for event in caller.of("conversation.item.retrieved")[1:])
    assert 1.2 < seconds(user) < 1.6 and seconds(assistant) == pytest.approx(len("It is noon.") * 0.06, abs=0.1)
    assert beside == [], "no errors"


def kept(recorder: Recorder) -> int:
    """Samples."""
    return sum(len(piece.samples) for piece in recorder._pieces)


def test_of_a_user_who_is_silent_next_to_nothing_is_kept() -> None:
    recorder = Recorder(max_s=60.0)
    for _ in range(3000):
        recorder.hear(AudioFrame(np.zeros(480, np.float32), 24000))
    assert kept(recorder) <= 1.6 * 24000


def test_nor_of_one_whose_turn_does_not_end() -> None:
    recorder = Recorder(max_s=2.0)
    recorder.begin(0.0)
    for _ in range(3000):
        recorder.hear(AudioFrame(np.zeros(480, np.float32), 24000))
        assert kept(recorder) <= (2.0 + WAIT_S + 0.1) * 24000
    assert kept(recorder) <= 1.6 * 24000, "nobody will want the rest"
    recorder.drop()
    assert recorder.take(60.0) is None


def test_of_a_turn_that_is_too_long_there_is_nothing_and_of_the_next_one_all() -> None:
    recorder = Recorder(max_s=2.0)
    recorder.begin(0.5)
    for _ in range(50 * 10):
        recorder.hear(AudioFrame(np.zeros(480, np.float32), 24000))
    assert recorder.take(9.0) is None, "no part of it"
    recorder.begin(9.5)
    for _ in range(50):
        recorder.hear(AudioFrame(np.zeros(480, np.float32), 24000))
    sound = recorder.take(11.0)
    assert sound is not None and sound.seconds == pytest.approx(1.5)


def test_a_turn_of_the_longest_is_whole_though_its_end_is_known_later() -> None:
    recorder = Recorder(max_s=2.0)
    recorder.begin(1.0)
    for _ in range(50 * 5):
        recorder.hear(AudioFrame(np.zeros(480, np.float32), 24000))
    sound = recorder.take(3.0)
    assert sound is not None and sound.seconds == pytest.approx(2.0)


def test_sound_in_crumbs_is_kept_in_pieces() -> None:
    recorder = Recorder(max_s=60.0)
    recorder.begin(0.0)
    whole = np.arange(-12000, 12000)
    for at in range(0, 24000, 10):
        recorder.hear(AudioFrame((whole[at : at + 10] / 32768).astype(np.float32), 24000))
        assert sum(len(piece._parts) for piece in recorder._pieces) <= 10 + 240, (
            "whole pieces, and what is to become one"
        )
    sound = recorder.take(1.0)
    assert sound is not None
    np.testing.assert_array_equal(np.concatenate([samples for samples, _ in sound.pieces]), whole)


@pytest.mark.parametrize("pause_s", [0.1, 0.35, 0.8])
def test_a_turn_that_goes_on_has_each_sample_once(pause_s: float) -> None:
    recorder = Recorder(max_s=60.0)
    whole = np.arange(-12000, 12000)

    def hear(from_s: float, until_s: float) -> None:
        for at in range(round(from_s * 8000), round(until_s * 8000), 80):
            recorder.hear(AudioFrame((whole[at : at + 80] / 32768).astype(np.float32), 8000))

    hear(0.0, 0.5)
    recorder.begin(0.2)
    hear(0.5, 1.3)
    first = recorder.take(1.0 + 0.2)  # the voice ended at 1.0 s
    again_s = 1.0 + pause_s
    hear(1.3, 2.1)
    recorder.begin(again_s - 0.3, goes_on=True)
    hear(2.1, 3.0)
    both = joined(first, recorder.take(2.8))
    assert both is not None
    heard = np.concatenate([samples for samples, _ in both.pieces])
    wanted = [whole[1600:9600], whole[max(9600, round((again_s - 0.3) * 8000)) : 22400]]
    np.testing.assert_array_equal(heard, np.concatenate(wanted))


@for_all(st.lists(st.tuples(st.integers(1, 50), st.sampled_from([8000, 24000, 48000])), min_size=1, max_size=20))
def test_a_turn_is_cut_to_the_sample_whatever_the_pieces(pieces: list[tuple[int, int]]) -> None:
    recorder = Recorder(max_s=60.0)
    for ms, rate_hz in pieces:
        recorder.hear(AudioFrame(np.zeros(ms * rate_hz // 1000, np.float32), rate_hz))
    total_s = sum(ms for ms, _ in pieces) / 1000
    recorder.begin(total_s / 4)
    sound = recorder.take(3 * total_s / 4)
    assert sound is None or sound.seconds == pytest.approx(total_s / 2, abs=0.001)


@for_all(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(1, 9), st.integers(1, 30)),
            st.tuples(st.just("say"), st.integers(0, 9), st.integers(1, 30)),
            st.tuples(st.sampled_from(["forget", "delete"]), st.integers(1, 9), st.just(0)),
        ),
        max_size=60,
    )
)
def test_the_bound_holds_in_any_order(steps: list[tuple[str, int, int]]) -> None:
    sounds = Sounds(max_s=2.0)
    for what, key, tenths in steps:
        frame = AudioFrame(np.zeros(800 * tenths, np.float32), 8000)
        match what:
            case "put":
                sounds.put_frame(str(key), frame)
            case "say":
                sounds.say(key, frame)
            case "forget":
                sounds.forget(key)
            case "delete":
                sounds.delete(key)
        kept = [sound for key in [*range(10), *map(str, range(10))] if (sound := sounds.find(key)) is not None]
        assert sum(sound.seconds for sound in kept) == pytest.approx(sounds.seconds, abs=1e-6)
        assert sounds.seconds <= 2.0 + 1e-6 and len(kept) == len(sounds)


def test_pieces_of_several_rates_become_one_sound() -> None:
    one, other = Sound(), Sound()
    one.add(np.full(800, 1000, np.int16), 8000)
    other.add(np.full(2400, 1000, np.int16), 24000)
    both = joined(one, other)
    assert both is not None and both.seconds == pytest.approx(0.2) and joined(None, other) is None
    data = np.frombuffer(base64.b64decode(encoded(both.heard(), PCM)), "<i2")
    assert len(data) == pytest.approx(4800, abs=4) and encoded([], PCM) == ""
    assert abs(np.median(data) - 1000) <= 1
