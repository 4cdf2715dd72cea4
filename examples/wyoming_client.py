"""What a Wyoming program asks of a running server, as Home Assistant does: a connection for each request.

    antiphon serve local.yaml --set server.wyoming.port=10400
    python examples/wyoming_client.py describe
    python examples/wyoming_client.py say "It is noon." noon.wav
    python examples/wyoming_client.py hear noon.wav
    python examples/wyoming_client.py ask "What time is it?"

Needs `pip install wyoming`, and nothing of Antiphon.
"""

from __future__ import annotations

import argparse
import asyncio
import wave

from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop, wav_to_chunks
from wyoming.client import AsyncClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.handle import Handled
from wyoming.info import Describe, Info
from wyoming.tts import Synthesize


async def next_event(server: AsyncClient) -> Event:
    event = await server.read_event()
    if event is None:
        raise SystemExit("the server has closed the connection")
    if Error.is_type(event.type):
        raise SystemExit(f"the server says: {Error.from_event(event).text}")
    return event


async def describe(server: AsyncClient) -> None:
    await server.write_event(Describe().event())
    info = Info.from_event(await next_event(server))
    for program in (*info.asr, *info.tts, *info.handle):
        print(f"{program.name}: {program.description} (version {program.version})")


async def say(server: AsyncClient, text: str, path: str) -> None:
    """The audio comes as it is made: a player would begin with the first piece."""
    await server.write_event(Synthesize(text=text).event())
    with wave.open(path, "wb") as file:
        while not AudioStop.is_type((event := await next_event(server)).type):
            if AudioStart.is_type(event.type):
                start = AudioStart.from_event(event)
                file.setparams((start.channels, start.width, start.rate, 0, "NONE", ""))
            elif AudioChunk.is_type(event.type):
                file.writeframes(AudioChunk.from_event(event).audio)


async def hear(server: AsyncClient, path: str) -> None:
    await server.write_event(Transcribe().event())
    with wave.open(path, "rb") as file:
        for part in wav_to_chunks(file, 1024, start_event=True, stop_event=True):
            await server.write_event(part.event())
    while not Transcript.is_type((event := await next_event(server)).type):
        pass
    print(Transcript.from_event(event).text)


async def ask(server: AsyncClient, text: str) -> None:
    """The agent, in text. A `conversation_id` of one's own would go on with what was said before."""
    await server.write_event(Transcript(text=text, context={"conversation_id": "example"}).event())
    while not Handled.is_type((event := await next_event(server)).type):
        pass
    print(Handled.from_event(event).text)


async def main(arguments: argparse.Namespace) -> None:
    async with AsyncClient.from_uri(arguments.uri) as server:
        match arguments.what:
            case "describe":
                await describe(server)
            case "say":
                await say(server, arguments.text, arguments.wav)
            case "hear":
                await hear(server, arguments.wav)
            case "ask":
                await ask(server, arguments.text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--uri", default="tcp://127.0.0.1:10400")
    what = parser.add_subparsers(dest="what", required=True)
    what.add_parser("describe", help="what the server has")
    saying = what.add_parser("say", help="a text to a WAV file")
    saying.add_argument("text")
    saying.add_argument("wav")
    hearing = what.add_parser("hear", help="a WAV file (PCM16) to text")
    hearing.add_argument("wav")
    asking = what.add_parser("ask", help="the agent, in text")
    asking.add_argument("text")
    asyncio.run(main(parser.parse_args()))
