"""Lines of the session's own, made into audio ahead: what a broken voice costs, and what it does not."""

from __future__ import annotations

import pytest
from faults import RUBBISH_CHUNKS, Fault, FaultyTTS

from antiphon.engines.testing import ScriptedTTS, run_virtual
from antiphon.pipeline.own_lines import spoken_lines


def test_each_line_is_audio_at_the_sessions_rate() -> None:
    async def main() -> None:
        async with ScriptedTTS(seconds_per_char=0.1) as tts:
            made = await spoken_lines(tts, ["Sorry.", "", "Goodbye.", "Sorry."], output_hz=16000, deadline_s=5.0)
        assert {line: (frame.rate_hz, round(frame.duration_s, 1)) for line, (frame,) in made.items()} == {
            "Sorry.": (16000, 0.6),
            "Goodbye.": (16000, 0.8),
        }

    run_virtual(main())


@pytest.mark.parametrize(
    "how", ["fails", "raises", "hangs", "stubborn", "silent", "without end", "cancels", *RUBBISH_CHUNKS]
)
def test_a_voice_that_breaks_costs_that_line_only(how: str) -> None:
    async def main() -> None:
        tts = FaultyTTS(Fault(how, calls=(0,), until_s=1e9))
        async with tts:
            made = await spoken_lines(tts, ["A.", "B."], output_hz=24000, deadline_s=5.0)
        harmless = ("another rate", "much too loud", "places beyond the text", "negative times", "times are no numbers")
        assert set(made) - {"A."} == {"B."} and ("A." not in made or how in (*harmless, "no samples"))

    run_virtual(main())
