"""The user speaks into a reply: scripted engines, a virtual clock."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loud_vad import LoudVad
from sessions import RATE_HZ, Rig

from antiphon.engines.audio import AudioFrame
from antiphon.engines.errors import EngineFailed
from antiphon.engines.protocols import EndpointPolicy
from antiphon.engines.testing import Heard, Reply, run_virtual
from antiphon.pipeline.interruption import InterruptionSettings
from antiphon.pipeline.reply import ReplySettings
from antiphon.pipeline.session_settings import IdleSettings, SessionSettings
from antiphon.pipeline.transports.recording import RecordingTransport, recording_frames
from antiphon.pipeline.workflow import EndCall, as_workflow

LONG = "One two three four five six seven eight nine ten eleven twelve."
"""At 0.06 s a character, 3.8 s."""


def scripted(second: str) -> Any:
    """The first turn is a question; whatever is transcribed of the second one is `second`."""

    def hear(call: Any) -> Heard:
        return Heard("Count." if call.audio.start_s < 1.0 else second, 0.05)

    return hear


def answers(first: Reply) -> Any:
    """To "Count." `first`, to anything else a short one."""
    return lambda call: first if call.messages[-1].content == "Count." else Reply(["All right."])


def session(second: tuple[float, float], said: str = "No, wait a moment.", *, llm: Any = None, **more: Any) -> Rig:
    interruption = more.pop("interruption", InterruptionSettings())
    seconds = more.pop("seconds", 10.0)
    made = Rig(
        [(0.5, 1.5), second],
        seconds=seconds,
        stt=scripted(said),
        llm=answers(llm or Reply([LONG])),
        settings=SessionSettings(on_error="", interruption=interruption, **more.pop("settings", {})),
        **more,
    )
    run_virtual(made.run())
    return made


def times(rig: Rig, kind: str) -> list[float]:
    return [event.t_s for event in rig.of(kind)]


def ends(rig: Rig) -> list[tuple[int, str]]:
    return [(event.turn, event.status) for event in rig.of("turn_ended")]  # type: ignore[attr-defined]


def test_speech_into_a_reply_pauses_it_at_once_then_stops_it() -> None:
    rig = session((3.0, 4.2))
    assert rig.types.count("playback_paused") == 1 and "playback_resumed" not in rig.types
    (paused_s,), (stopped_s,) = times(rig, "playback_paused"), times(rig, "interrupted")
    (started,) = [event for event in rig.of("speech_started") if event.turn == 2]
    assert paused_s == pytest.approx(started.t_s), "in the moment in which the voice is heard"
    assert 3.0 < paused_s < 3.2
    assert stopped_s == pytest.approx(3.6, abs=0.1), "min_speech_ms is 600"
    assert ends(rig) == [(1, "interrupted"), (2, "completed")]
    assert rig.heard == ["Count.", "No, wait a moment."]


def test_history_holds_what_was_heard_to_the_word() -> None:
    rig = session((3.0, 4.2))
    (stopped,) = rig.of("interrupted")
    said = next(item for item in rig.session.conversation if item.role == "assistant")
    assert said.interrupted and said.text == stopped.heard and said.unheard == stopped.unheard  # type: ignore[attr-defined]
    assert said.text + said.unheard == LONG
    (paused_s,), (audible_s,) = times(rig, "playback_paused"), times(rig, "audio_started")[:1]
    spoken_s = paused_s - audible_s
    assert len(said.text) * 0.06 <= spoken_s + 0.06 < (len(said.text) + len(said.unheard.split()[0]) + 1) * 0.06 + 0.06
    prompt = [message.content for message in rig.llm.calls[-1].messages]
    assert f"{said.text} ..." in prompt and not any(said.unheard in text for text in prompt)


def test_nothing_of_the_old_reply_sounds_after_the_pause() -> None:
    rig = session((3.0, 4.2))
    (paused_s,) = times(rig, "playback_paused")
    old = [piece for piece in rig.transport.played if piece.mark == 1]
    assert max(piece.start_s + piece.frame.duration_s for piece in old) <= paused_s + 1e-3
    assert [piece for piece in rig.transport.played if piece.mark == 2]


@pytest.mark.parametrize("said", ["Uh-huh.", "", "Yeah, okay."])
def test_a_backchannel_or_a_cough_lets_it_go_on_at_the_sample_where_it_paused(said: str) -> None:
    rig = session((3.0, 3.3), said)
    assert ends(rig) == [(1, "completed")]
    assert rig.said == [LONG] and rig.heard == ["Count."]
    (paused_s,), (resumed_s,) = times(rig, "playback_paused"), times(rig, "playback_resumed")
    assert 3.3 < resumed_s < 3.6
    whole = session((20.0, 21.0), said)
    np.testing.assert_array_equal(
        np.concatenate([piece.frame.samples for piece in rig.transport.played]),
        np.concatenate([piece.frame.samples for piece in whole.transport.played]),
    )
    silent = [
        (one.start_s + one.frame.duration_s, other.start_s)
        for one, other in zip(rig.transport.played, rig.transport.played[1:], strict=False)
        if other.start_s - one.start_s - one.frame.duration_s > 1e-3
    ]
    assert silent == [(pytest.approx(paused_s, abs=1e-3), pytest.approx(resumed_s, abs=1e-3))]
    assert "dropped" in rig.types and len(rig.llm.calls) == 1, "nobody answers a back-channel"


@pytest.mark.parametrize(
    ("sounds", "status"),
    [([(3.0, 3.15), (3.4, 3.55), (3.8, 3.95)], "completed"), ([(3.0, 3.8)], "interrupted")],
)
def test_coughs_in_a_row_are_not_one_long_sound(sounds: list[tuple[float, float]], status: str) -> None:
    """Also where nothing is known of their words before the last is over."""

    def hear(call: Any) -> Heard:
        return Heard("Count.", 0.05) if call.audio.start_s < 1.0 else Heard("", 1.0)

    rig = Rig(
        [(0.5, 1.5), *sounds],
        seconds=10.0,
        stt=hear,
        llm=answers(Reply([LONG])),
        settings=SessionSettings(on_error=""),
    )
    run_virtual(rig.run())
    assert ends(rig)[0] == (1, status)


def test_a_short_word_stops_it_too() -> None:
    rig = session((3.0, 3.3), "Stop.")
    assert ends(rig) == [(1, "interrupted"), (2, "completed")]
    assert times(rig, "interrupted")[0] < 3.6


def test_min_words() -> None:
    rig = session((3.0, 4.5), "Stop.", interruption=InterruptionSettings(min_words=2))
    assert ends(rig) == [(1, "completed")]
    assert rig.of("playback_resumed")[0].reason == "too_short"  # type: ignore[attr-defined]
    rig = session((3.0, 4.5), "Stop it.", interruption=InterruptionSettings(min_words=2))
    assert ends(rig) == [(1, "interrupted"), (2, "completed")]


def test_before_anything_was_heard_the_user_may_go_on() -> None:
    rig = session((3.0, 4.0), llm=Reply([LONG], first_delay_s=3.0))
    assert "playback_paused" not in rig.types and "audio_started" in rig.types
    assert ends(rig) == [(1, "interrupted"), (2, "completed")]
    assert rig.heard == ["Count.", "No, wait a moment."], "what was said first is not lost"
    assert rig.said == ["All right."]
    prompt = [(message.role, message.content) for message in rig.llm.calls[-1].messages]
    assert prompt[-1] == ("user", "Count.\nNo, wait a moment.") or prompt[-1][1].startswith("Count.")


def test_words_that_are_not_transcribed_yet_are_not_lost() -> None:
    def hear(call: Any) -> Heard:
        return Heard("Count.", 3.0) if call.audio.start_s < 1.0 else Heard("No, wait.", 0.05)

    rig = Rig(
        [(0.5, 1.5), (2.6, 3.5)],
        seconds=10.0,
        stt=hear,
        llm=lambda call: Reply(["All right."]),
        settings=SessionSettings(on_error=""),
    )
    run_virtual(rig.run())
    assert rig.heard == ["Count.", "No, wait."]
    assert ends(rig) == [(1, "interrupted"), (2, "completed")]


def test_switched_off_the_reply_plays_to_its_end_and_both_are_answered() -> None:
    rig = session((3.0, 4.2), interruption=InterruptionSettings(enabled=False))
    assert ends(rig) == [(1, "completed"), (2, "completed")]
    assert rig.said == [LONG, "All right."]
    assert "playback_paused" not in rig.types


def test_a_mute_window() -> None:
    rig = session((3.0, 4.2), interruption=InterruptionSettings(mute_ms=3000))
    assert ends(rig) == [(1, "completed"), (2, "completed")]


def test_the_stopped_work_is_really_stopped() -> None:
    endless = Reply(["Word. "] * 400, delta_delay_s=0.05)
    rig = session((3.0, 4.2), llm=endless)
    (stopped_s,) = times(rig, "interrupted")
    first = rig.llm.calls[0]
    assert first.ended_s is not None and first.ended_s <= stopped_s + 0.06
    assert all(call.ended_s is not None for call in rig.tts.calls)
    assert [call.text for call in rig.tts.calls if call.began_s > stopped_s] == ["All right."]


def test_when_the_transcription_fails_the_user_still_wanted_to_speak() -> None:
    def hear(call: Any) -> Heard | Exception:
        if call.audio.start_s < 1.0:
            return Heard("Count.", 0.05)
        return EngineFailed("it broke", stage="stt")

    rig = Rig(
        [(0.5, 1.5), (3.0, 3.3)],
        seconds=10.0,
        stt=hear,
        llm=answers(Reply([LONG])),
        settings=SessionSettings(on_error=""),
    )
    run_virtual(rig.run())
    assert ends(rig) == [(1, "interrupted"), (2, "failed")]


def test_the_client_corrects_what_was_heard() -> None:
    rig = session((3.0, 4.2))

    async def acknowledge() -> None:
        rig.session.played(7, 1.0)
        rig.session.played(1, 0.5)

    run_virtual(acknowledge())
    last = rig.of("interrupted")[-1]
    assert last.acknowledged and last.heard == "One two"  # type: ignore[attr-defined]
    said = next(item for item in rig.session.conversation if item.role == "assistant")
    assert (said.text, said.text + said.unheard) == ("One two", LONG)
    assert len(rig.of("interrupted")) == 2, "an unknown turn is no news"


def acted(act: Any, second: tuple[float, float] = (30.0, 31.0), **more: Any) -> Rig:
    made = Rig(
        [(0.5, 1.5), second],
        seconds=12.0,
        stt=scripted("No, wait."),
        llm=answers(Reply([LONG])),
        settings=SessionSettings(on_error="", **more),
    )

    async def go() -> None:
        task = asyncio.create_task(made.run())
        await act(made)
        await task

    run_virtual(go())
    return made


def test_cancel_stops_everything() -> None:
    async def act(rig: Rig) -> None:
        await asyncio.sleep(3.0)
        rig.session.say("And thirteen.")
        rig.session.cancel()
        await asyncio.sleep(0.1)
        rig.session.cancel()

    rig = acted(act)
    assert ends(rig) == [(1, "interrupted")]
    assert not rig.of("interrupted")[1:] or rig.of("interrupted")[1].heard == ""  # type: ignore[attr-defined]
    assert max(piece.start_s + piece.frame.duration_s for piece in rig.transport.played) <= 3.01


def test_say_speaks_after_what_is_being_said_and_is_remembered() -> None:
    async def act(rig: Rig) -> None:
        await asyncio.sleep(3.0)
        rig.session.say("And thirteen.")

    assert acted(act).said == [LONG, "And thirteen."]


def test_what_must_be_heard_is_not_interruptible() -> None:
    async def act(rig: Rig) -> None:
        await asyncio.sleep(6.2)
        rig.session.say("This call is recorded for your safety and for ours.", interruptible=False)

    rig = acted(act, (7.5, 9.0))
    assert rig.said == [LONG, "This call is recorded for your safety and for ours.", "All right."]
    assert "playback_paused" not in rig.types


def test_a_pause_of_the_callers() -> None:
    async def act(rig: Rig) -> None:
        await asyncio.sleep(3.0)
        rig.session.pause()
        await asyncio.sleep(4.0)
        rig.session.resume()

    rig = acted(act)
    gaps = [
        other.start_s - one.start_s - one.frame.duration_s
        for one, other in zip(rig.transport.played, rig.transport.played[1:], strict=False)
    ]
    assert max(gaps) == pytest.approx(4.0, abs=0.05)


def test_a_muted_microphone_hears_nothing() -> None:
    samples = np.zeros(RATE_HZ * 10, dtype=np.float32)
    for begin, end in ((0.5, 1.5), (3.0, 4.2)):
        samples[round(begin * RATE_HZ) : round(end * RATE_HZ)] = 0.3
    made = Rig(
        [],
        seconds=0.0,
        source=recording_frames(AudioFrame(samples, RATE_HZ), paced=True),
        stt=scripted("No, wait."),
        llm=answers(Reply([LONG])),
        settings=SessionSettings(on_error=""),
    )
    made.vad = LoudVad()

    async def go() -> None:
        task = asyncio.create_task(made.run())
        await asyncio.sleep(2.5)
        made.session.muted = True
        await task

    run_virtual(go())
    assert ends(made) == [(1, "completed")] and made.types.count("speech_started") == 1


@settings(max_examples=40, deadline=None)
@given(
    begin=st.floats(1.9, 7.0),
    length=st.floats(0.1, 2.5),
    said=st.sampled_from(["", "Uh-huh.", "Stop.", "Tell me about something else, please."]),
    slow=st.floats(0.0, 2.0),
    stt_s=st.floats(0.0, 0.8),
)
def test_whatever_the_moment_every_turn_ends_and_nothing_is_lost(
    begin: float, length: float, said: str, slow: float, stt_s: float
) -> None:
    def hear(call: Any) -> Heard:
        return Heard("Count." if call.audio.start_s < 1.0 else said, stt_s)

    rig = Rig(
        [(0.5, 1.5), (begin, begin + length)],
        seconds=16.0,
        stt=hear,
        llm=lambda call: Reply([LONG], first_delay_s=slow),
        settings=SessionSettings(on_error=""),
    )
    run_virtual(rig.run())
    turns = {event.turn for event in rig.of("committed")}
    assert {event.turn for event in rig.of("turn_ended")} == turns, "each turn ends, and only once"
    assert len(rig.of("turn_ended")) == len(turns)
    assert rig.types.count("playback_paused") <= rig.types.count("playback_resumed") + rig.types.count("interrupted")
    assert rig.heard[0] == "Count." or rig.of("dropped")
    for item in rig.session.conversation:
        if item.role == "assistant":
            assert LONG.startswith(item.text) and (item.text + item.unheard).strip() in ("", LONG)
    starts = [piece.start_s for piece in rig.transport.played]
    assert starts == sorted(starts)


def test_the_greeting_can_be_spoken_into() -> None:
    made = Rig(
        [(1.0, 2.0)],
        seconds=6.0,
        stt=lambda call: Heard("Count.", 0.05),
        llm=lambda call: Reply(["All right."]),
        settings=SessionSettings(on_error="", greeting=LONG),
    )
    run_virtual(made.run())
    (stopped,) = made.of("interrupted")
    assert stopped.turn == 0 and LONG.startswith(stopped.heard) and stopped.heard  # type: ignore[attr-defined]
    assert made.said == [stopped.heard, "All right."]  # type: ignore[attr-defined]


def test_a_silent_user_is_spoken_to_then_the_session_ends() -> None:
    idle = IdleSettings(after_s=2.0, prompts=("Hello?", "Are you there?"), goodbye="Goodbye.")
    made = Rig(
        [(0.5, 1.5)],
        seconds=60.0,
        stt=lambda call: Heard("Count.", 0.05),
        llm=lambda call: Reply(["One."]),
        settings=SessionSettings(on_error="", idle=idle),
    )
    run_virtual(made.run())
    assert made.said == ["One.", "Hello?", "Are you there?", "Goodbye."]
    starts = [piece.start_s for piece in made.transport.played]
    assert starts[-1] < 12.0, "long before the input ends"
    ends_s = {mark.start_s + mark.frame.duration_s for mark in made.transport.played}
    gaps = [round(start - max(end for end in ends_s if end <= start + 1e-6), 1) for start in starts[1:]]
    assert [gap for gap in gaps if gap > 0.1] == [2.0, 2.0, 2.0]


def test_a_user_who_speaks_again_is_asked_from_the_beginning() -> None:
    idle = IdleSettings(after_s=2.0, prompts=("Hello?",), goodbye="Goodbye.")
    made = Rig(
        [(0.5, 1.5), (6.0, 6.8)],
        seconds=60.0,
        stt=lambda call: Heard("Count.", 0.05),
        llm=lambda call: Reply(["One."]),
        settings=SessionSettings(on_error="", idle=idle),
    )
    run_virtual(made.run())
    assert made.said == ["One.", "Hello?", "One.", "Hello?", "Goodbye."]


def test_the_workflow_ends_the_call_after_its_last_words() -> None:
    async def hang_up(text: str) -> Any:
        yield "Goodbye then."
        yield EndCall("done")

    made = Rig(
        [(0.5, 1.5), (5.0, 6.0)],
        seconds=30.0,
        stt=lambda call: Heard("Bye.", 0.05),
        workflow=as_workflow(hang_up),
        settings=SessionSettings(on_error=""),
    )
    run_virtual(made.run())
    assert made.said == ["Goodbye then."] and ends(made) == [(1, "completed")]
    assert made.types.count("speech_started") == 1


@pytest.mark.parametrize(("slow_s", "bridged"), [(0.2, False), (3.0, True)])
def test_a_filler_only_where_the_answer_is_slow_and_never_as_the_answer(slow_s: float, bridged: bool) -> None:
    reply = ReplySettings(filler="Let me see.", filler_after_s=1.0)
    rig = session((20.0, 21.0), llm=Reply([LONG], first_delay_s=slow_s), settings={"reply": reply})
    fillers = [event for event in rig.of("spoken") if event.filler]  # type: ignore[attr-defined]
    assert bool(fillers) is bridged
    assert rig.said == [LONG]
    (ended,) = rig.of("turn_ended")
    assert ended.text == LONG and ended.timings.audible_s >= ended.timings.first_token_s  # type: ignore[attr-defined]
    assert len(rig.of("audio_started")) == 1


def test_what_was_heard_of_a_reply_behind_a_filler_is_counted_without_it() -> None:
    reply = ReplySettings(filler="Let me see.", filler_after_s=0.5)
    rig = session((5.5, 6.7), llm=Reply([LONG], first_delay_s=2.0), settings={"reply": reply})
    (stopped,) = rig.of("interrupted")
    (paused_s,), (audible_s,) = times(rig, "playback_paused"), times(rig, "audio_started")[:1]
    assert len(stopped.heard) * 0.06 <= paused_s - audible_s + 0.06 < (len(stopped.heard) + 8) * 0.06  # type: ignore[attr-defined]


# ------------------------------------------------------------------- found in review: each hung, leaked or lost words


def slow_second(second: str, delay_s: float) -> Any:
    def hear(call: Any) -> Heard:
        return Heard("Count.", 0.05) if call.audio.start_s < 1.0 else Heard(second, delay_s)

    return hear


def live(
    act: Any, speech: list[tuple[float, float]], *, stt: Any, llm: Any = None, seconds: float = 12.0, **more: Any
) -> Rig:
    made = Rig(
        speech,
        seconds=seconds,
        stt=stt,
        llm=answers(llm or Reply([LONG])),
        settings=more.pop("settings", SessionSettings(on_error="")),
        **more,
    )

    async def go() -> None:
        task = asyncio.create_task(made.run())
        await act(made)
        await task

    run_virtual(go())
    return made


def test_cancelled_while_the_words_of_an_interruption_are_unknown_playback_goes_on_later() -> None:
    async def act(rig: Rig) -> None:
        await asyncio.sleep(4.0)
        rig.session.cancel()
        await asyncio.sleep(1.0)
        rig.session.say("Still there?")

    rig = live(act, [(0.5, 1.5), (3.0, 3.3)], stt=slow_second("Wait.", 1.5))
    assert "Still there?" in rig.said


def test_an_answer_kept_through_a_cough_does_not_outlive_its_turn() -> None:
    async def act(rig: Rig) -> None:
        await asyncio.sleep(2.6)
        rig.session.cancel()
        await asyncio.sleep(3.0)
        rig.session.say("Still there?")

    rig = live(
        act,
        [(0.5, 1.5), (1.7, 1.85)],
        stt=lambda call: Heard("Count.", 0.05 if call.audio_s < 1.5 else 2.0),
        policy=EndpointPolicy(silence_ms=400),
    )
    assert "Still there?" in rig.said


def test_an_apology_can_be_spoken_into() -> None:
    def hear(call: Any) -> Heard | Exception:
        return EngineFailed("ear", stage="stt") if call.audio.start_s < 1.0 else Heard("Wait.", 0.05)

    settings = SessionSettings(on_error="Sorry, something went wrong here. Please say all of that again for me.")
    rig = Rig([(0.5, 1.5), (3.0, 4.0)], seconds=10.0, stt=hear, llm=answers(Reply([LONG])), settings=settings)
    run_virtual(rig.run())
    first = [piece for piece in rig.transport.played if piece.mark == 1]
    assert first and max(piece.start_s + piece.frame.duration_s for piece in first) < 3.3
    assert ends(rig) == [(1, "failed"), (2, "completed")]


def test_what_must_be_heard_is_not_cut_by_an_interruption_of_what_waits_behind_it() -> None:
    notice = "This call is recorded for your safety and for ours, and kept for thirty days."

    async def act(rig: Rig) -> None:
        await asyncio.sleep(0.2)
        rig.session.say(notice, interruptible=False)

    rig = live(act, [(0.7, 1.5), (3.0, 4.0)], stt=lambda call: Heard("Count.", 0.05), seconds=14.0)
    heard_s = sum(piece.frame.duration_s for piece in rig.transport.played if piece.mark == 0)
    assert heard_s == pytest.approx(len(notice) * 0.06, abs=0.01)
    assert notice in rig.said


def test_a_cough_while_it_is_not_known_what_was_said_before_decides_nothing() -> None:
    def hear(call: Any) -> Heard:
        if call.audio.start_s < 1.0:
            return Heard("Count.", 0.05)
        return Heard("No, stop.", 1.5) if call.audio.start_s < 3.4 else Heard("", 0.05)

    rig = Rig(
        [(0.5, 1.5), (3.0, 3.4), (4.2, 4.4)],
        seconds=12.0,
        stt=hear,
        llm=answers(Reply([LONG])),
        settings=SessionSettings(on_error=""),
    )
    run_virtual(rig.run())
    assert ends(rig)[0] == (1, "interrupted")
    assert "No, stop." in rig.heard


def test_with_push_to_talk_a_cough_pauses_the_reply_only_for_a_moment() -> None:
    async def act(rig: Rig) -> None:
        await asyncio.sleep(1.8)
        rig.session.commit()

    rig = live(
        act,
        [(0.5, 1.5), (3.0, 3.3)],
        stt=lambda call: Heard("Count.", 0.05) if call.audio.start_s < 1.0 else Heard("", 0.05),
        settings=SessionSettings(on_error="", manual_turns=True),
        seconds=20.0,
    )
    (paused_s,), (resumed_s,) = times(rig, "playback_paused"), times(rig, "playback_resumed")
    assert resumed_s - paused_s < 1.0


def test_where_audio_cannot_be_taken_back_speech_interrupts_nothing() -> None:
    made = Rig([(0.5, 1.5), (3.0, 4.2)], seconds=10.0, stt=scripted("Two?"), llm=answers(Reply([LONG])))
    original = RecordingTransport.__init__

    def plain(self: RecordingTransport, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.capabilities = replace(self.capabilities, clears=False, pauses=False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecordingTransport, "__init__", plain)
        run_virtual(made.run())
    assert ends(made) == [(1, "completed"), (2, "completed")]


def test_a_filler_can_be_spoken_into() -> None:
    reply = ReplySettings(filler="Let me see, that may take me quite a while to find out.", filler_after_s=0.3)
    rig = session((3.0, 4.0), llm=Reply([LONG], first_delay_s=6.0), settings={"reply": reply})
    assert times(rig, "playback_paused") and times(rig, "playback_paused")[0] < 3.2
    assert ends(rig) == [(1, "interrupted"), (2, "completed")]
