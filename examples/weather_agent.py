"""An agent with a tool, of the Agents SDK, on the configured engines: python examples/weather_agent.py QUESTION.wav"""

from __future__ import annotations

import asyncio
import sys

import soundfile
from agents import Agent, function_tool

from antiphon import AudioInput, SingleAgentVoiceWorkflow, VoicePipeline


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"The weather in {city} is sunny."


agent = Agent(
    name="Assistant",
    instructions="You are a helpful voice assistant. Use the tool for the weather. Answer in one short sentence.",
    tools=[get_weather],
)


async def main(question: str, config: str = "local.yaml") -> None:
    samples, rate_hz = soundfile.read(question, dtype="int16")
    async with VoicePipeline.from_config(config, workflow=SingleAgentVoiceWorkflow(agent)) as pipeline:
        result = await pipeline.run(AudioInput(buffer=samples, frame_rate=rate_hz))
        async for event in result.stream():
            if event.type == "voice_stream_event_transcript":
                print(f"{event.role}: {event.text}")
            elif event.type == "voice_stream_event_error":
                print(f"error: {event.error}", file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
