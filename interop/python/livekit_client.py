# mypy: ignore-errors
# (LiveKit Agents is not installed where this file is checked.)
"""LiveKit Agents with OpenAI's realtime model, by base URL: executed by the Python of its own environment.

    python livekit_client.py BASE_URL KEY SCENARIO FOLDER       prints one JSON object

An `AgentSession` without a room; FOLDER holds the questions as recordings (mono PCM16 at 24 kHz).
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
import wave
from importlib.metadata import version
from pathlib import Path

from livekit import rtc
from livekit.agents import Agent, AgentSession, function_tool
from livekit.agents.voice import io
from livekit.plugins import openai

RATE_HZ = 24000
CHUNK_S = 0.02
CITIES: list[str] = []


class Ears(io.AudioInput):
    """A microphone that never stops: what is to be said, else silence, at its own pace."""

    def __init__(self) -> None:
        super().__init__(label="microphone")
        self._to_say = b""
        self._number = 0
        self._began_s = time.monotonic()

    def say(self, recording: Path) -> None:
        with wave.open(str(recording)) as file:
            self._to_say += file.readframes(file.getnframes())

    async def __anext__(self):
        self._number += 1
        await asyncio.sleep(max(0.0, self._began_s + self._number * CHUNK_S - time.monotonic()))
        count = round(RATE_HZ * CHUNK_S)
        piece, self._to_say = self._to_say[: 2 * count], self._to_say[2 * count :]
        return rtc.AudioFrame(piece.ljust(2 * count, b"\0"), RATE_HZ, 1, count)


class Mouth(io.AudioOutput):
    """Takes sound as it comes; what has been played is known by the clock."""

    def __init__(self) -> None:
        super().__init__(label="loudspeaker", capabilities=io.AudioOutputCapabilities(pause=False))
        self.heard_s, self.taken_s = 0.0, 0.0
        """Of all segments so far; of this one."""
        self._began_s = 0.0
        self._end: asyncio.TimerHandle | None = None

    async def capture_frame(self, frame) -> None:
        await super().capture_frame(frame)
        if self.taken_s == 0:
            self._began_s = time.monotonic()
            self.on_playback_started(created_at=time.time())
        self.taken_s += frame.duration

    def flush(self) -> None:
        super().flush()
        left_s = self._began_s + self.taken_s - time.monotonic()
        self._end = asyncio.get_running_loop().call_later(max(0.0, left_s), self._over, False)

    def clear_buffer(self) -> None:
        if self._end is not None:
            self._end.cancel()
        self._over(True)

    def _over(self, interrupted: bool) -> None:
        if self.taken_s == 0:
            return
        played_s = min(self.taken_s, time.monotonic() - self._began_s)
        self.heard_s += played_s
        self.taken_s = 0.0
        self.on_playback_finished(playback_position=played_s, interrupted=interrupted)


class Refunds(Agent):
    def __init__(self) -> None:
        super().__init__(instructions="You answer for the refund desk.")

    async def on_enter(self) -> None:
        self.session.generate_reply(user_input="I was sent to you.")


class Desk(Agent):
    def __init__(self) -> None:
        super().__init__(instructions="You are a pirate.")

    @function_tool
    async def get_weather(self, city: str) -> str:
        """The weather of a city."""
        CITIES.append(city)
        return "Sunny."

    @function_tool
    async def transfer_to_refunds(self):
        """Hands the caller over to the refund desk."""
        return Refunds(), "Handed over."


class Story:
    """What happened in a session."""

    def __init__(self, session: AgentSession) -> None:
        self.user: list[str] = []
        self.assistant: list[str] = []
        self.interrupted: list[bool] = []
        self.errors: list[str] = []
        session.on("user_input_transcribed", self._heard)
        session.on("conversation_item_added", self._added)
        session.on("error", lambda event: self.errors.append(str(event.error)))

    def _heard(self, event) -> None:
        if event.is_final:
            self.user.append(event.transcript)

    def _added(self, event) -> None:
        if getattr(event.item, "role", "") == "assistant":
            self.assistant.append((event.item.text_content or "").strip())
            self.interrupted.append(bool(event.item.interrupted))


async def until(what: str, wanted, within_s: float = 20.0) -> None:
    try:
        async with asyncio.timeout(within_s):
            while not wanted():  # noqa: ASYNC110 (what is waited for is looked at, not told)
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise TimeoutError(f"{what} did not come") from None


async def play(scenario: str, ears: Ears, mouth: Mouth, story: Story, folder: Path) -> None:
    match scenario:
        case "spoken":
            ears.say(folder / "time.wav")
            await until("an answer", lambda: story.assistant)
        case "tool":
            ears.say(folder / "weather.wav")
            await until("an answer", lambda: "I looked: Sunny." in story.assistant)
        case "handoff":
            ears.say(folder / "refund.wav")
            await until("an answer", lambda: len(story.assistant) > 0 and CITIES == [])
        case "interruption":
            ears.say(folder / "story.wav")
            await until("the story", lambda: mouth.taken_s > 1.0)
            await asyncio.sleep(4.0)  # its first 3 s of speech are for echo cancellers to settle: it hears nothing
            ears.say(folder / "time.wav")
            await until("another answer", lambda: len(story.assistant) >= 2)


async def main(base_url: str, key: str, scenario: str, folder: str) -> int:
    session = AgentSession(llm=openai.realtime.RealtimeModel(base_url=base_url, api_key=key, model="gpt-realtime-2"))
    story, ears, mouth = Story(session), Ears(), Mouth()
    session.input.audio, session.output.audio = ears, mouth
    failure = None
    try:
        await session.start(Desk(), record=False)
        await play(scenario, ears, mouth, story, Path(folder))
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    told = {key: value for key, value in vars(story).items() if not key.startswith("_")}
    versions = {name: version(name) for name in ("livekit-agents", "livekit-plugins-openai")}
    agent = type(session.current_agent).__name__
    told |= {"agent": agent, "cities": CITIES, "heard_s": mouth.heard_s, "failure": failure, "versions": versions}
    sys.stdout.write(json.dumps(told) + "\n")
    await session.aclose()
    return 1 if failure else 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    raise SystemExit(asyncio.run(main(*sys.argv[1:5])))
