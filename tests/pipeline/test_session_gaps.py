"""Input that comes in bursts, with gaps, or is cut by hand: no turn is lost, doubled or made of silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest
from sessions import RATE_HZ, Rig

from antiphon.engines.audio import AudioFrame
from antiphon.engines.protocols import SpeechChunk, TTSOptions
from antiphon.engines.testing import Heard, Reply, ScriptedTTS, run_virtual
from antiphon.pipeline.session_settings import SessionSettings

QUIET = SessionSettings(on_error="")
OPTIONS = TTSOptions()


async def paced(
    *pieces: tuple[float, float], at: dict[float, Callable[[], None]] | None = None
) -> AsyncIterator[AudioFrame]:
    """Audio in 20 ms frames: each piece is (when it may come, how many seconds of it), without yielding inside one."""
    loop = asyncio.get_running_loop()
    due = sorted((at or {}).items())
    position = 0
    for when_s, seconds in pieces:
        await asyncio.sleep(max(0.0, when_s - loop.time()))
        for _ in range(round(seconds / 0.02)):
            yield AudioFrame(np.zeros(RATE_HZ // 50, dtype=np.float32), RATE_HZ, position / RATE_HZ)
            position += RATE_HZ // 50
        while due and loop.time() >= due[0][0]:
            due.pop(0)[1]()


def live(start_s: float, end_s: float) -> list[tuple[float, float]]:
    return [(start_s + index * 0.02, 0.02) for index in range(round((end_s - start_s) / 0.02))]


def endless(text: str) -> Callable[[object], Heard]:
    return lambda call: Heard(text)


def test_a_burst_that_pauses_and_goes_on_in_one_step() -> None:
    source = paced(*live(0.02, 1.0), (1.5, 0.5), *live(1.52, 5.0))
    rig = Rig(
        [(0.5, 1.1), (1.25, 2.0)], seconds=0, source=source, settings=QUIET,
        stt=endless("Hello there."), llm=lambda call: Reply(["Hi."]),  # type: ignore[arg-type]
    )  # fmt: skip
    run_virtual(rig.run())
    assert rig.said == ["Hi."]
    assert [event.to_dict()["status"] for event in rig.of("turn_ended")] == ["completed"]


def test_after_a_gap_in_mid_sentence_pauses_are_judged_as_before() -> None:
    """1.5 s without audio, then speech with short dips: at most one turn for each side of the gap."""
    speech = [(0.5, 1.0), (1.0, 1.4), (1.5, 1.9), (2.0, 2.4)]
    source = paced(*live(0.02, 1.0), *[(at_s + 1.5, seconds) for at_s, seconds in live(1.02, 5.0)])
    rig = Rig(speech, seconds=0, source=source, settings=QUIET, stt=endless("Hello."), llm=lambda call: Reply(["Hi."]))  # type: ignore[arg-type]
    run_virtual(rig.run())
    assert len(rig.of("committed")) <= 2


def test_clear_after_a_long_gap_makes_no_turns_of_nothing() -> None:
    source = paced(
        *live(0.02, 1.0), *[(at_s + 70.0, seconds) for at_s, seconds in live(1.0, 4.0)],
        at={70.5: lambda: rig.session.clear()},
    )  # fmt: skip
    rig = Rig(
        [(0.5, 1.0), (2.0, 2.8)], seconds=0, source=source, settings=QUIET,
        stt=endless("Hello."), llm=lambda call: Reply(["Hi."]),  # type: ignore[arg-type]
    )  # fmt: skip
    run_virtual(rig.run())
    assert 1 <= len(rig.of("committed")) <= 2
    assert len(rig.stt.calls) <= 4


@pytest.mark.parametrize("action", ["commit", "clear"])
def test_a_cut_by_hand_in_mid_word_makes_no_turn_of_the_silence_after_it(action: str) -> None:
    source = paced(*live(0.02, 20.0), at={1.5: lambda: getattr(rig.session, action)()})
    rig = Rig(
        [(0.5, 1.51), (15.0, 16.0)], seconds=0, source=source, settings=QUIET,
        stt=endless("Hello."), llm=lambda call: Reply(["Hi."]),  # type: ignore[arg-type]
    )  # fmt: skip
    run_virtual(rig.run())
    assert all(call.audio_s < 2.5 for call in rig.stt.calls), "no turn swallows the silence"
    assert len(rig.said) == (2 if action == "commit" else 1)


def test_a_tts_that_fails_while_it_is_stopped_does_not_hold_the_session() -> None:
    class Stubborn(ScriptedTTS):
        async def synthesize(self, text: str, options: TTSOptions = OPTIONS) -> AsyncIterator[SpeechChunk]:
            try:
                for index in range(200):
                    samples = np.full(2400, 0.1, dtype=np.float32)
                    yield SpeechChunk(AudioFrame(samples, 24000, index * 0.1), 0, len(text))
            finally:
                raise ConnectionError("reset by peer")

    rig = Rig([(0.5, 1.5)], seconds=20.0, stt=[Heard("One?")], llm=[Reply(["Long."])], tts=Stubborn(repeat=True))

    async def main() -> None:
        task = asyncio.create_task(rig.run())
        await asyncio.sleep(3.0)
        task.cancel()
        async with asyncio.timeout(5.0):
            await asyncio.wait({task})

    run_virtual(main())


def test_engines_that_give_the_wrong_thing_end_a_turn_only() -> None:
    class WrongTTS(ScriptedTTS):
        async def synthesize(self, text: str, options: TTSOptions = OPTIONS) -> AsyncIterator[SpeechChunk]:
            yield AudioFrame(np.zeros(10, dtype=np.float32), 24000)  # type: ignore[misc]

    rig = Rig([(0.5, 1.5)], seconds=4.0, stt=[Heard("One?")], llm=[Reply(["Yes."])], tts=WrongTTS(), settings=QUIET)
    run_virtual(rig.run())
    assert [event.to_dict()["code"] for event in rig.of("error")] == ["TypeError"]
    assert rig.said == [""], "nothing of it was heard"
