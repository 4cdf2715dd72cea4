"""OpenAI's Agents SDK for Python, unmodified, against our server: not one `error` event in any of these."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from agents import GuardrailFunctionOutput, OutputGuardrail, function_tool
from agents.realtime import RealtimeAgent, realtime_handoff
from agents.voice import (
    OpenAIVoiceModelProvider,
    StreamedAudioInput,
    VoicePipeline,
    VoicePipelineConfig,
    VoiceWorkflowBase,
)
from interop_desk import QUESTIONS, REFUNDS, desk, silence, tone
from network_clock import run_networked
from sdk_caller import CHUNK, Caller, talk
from served import serving


def desk_agent(**more: Any) -> RealtimeAgent[Any]:
    return RealtimeAgent(name="Desk", instructions="You are a pirate.", **more)


def test_a_spoken_turn() -> None:
    async def do(caller: Caller) -> None:
        caller.say("time")
        await caller.next("audio")
        await caller.next("agent_end")
        await caller.until(lambda: caller.texts("user") == [QUESTIONS[300]])

    caller = talk(desk_agent(), do)
    heard = b"".join(event.audio.data for event in caller.of("audio"))
    assert len(heard) / 2 / 24000 == pytest.approx(len("Arr, it is noon.") * 0.06, rel=0.1)
    assert caller.said() == ["Arr, it is noon."]


def test_a_typed_message_is_answered_aloud() -> None:
    async def do(caller: Caller) -> None:
        await caller.session.send_message("What time is it?")
        await caller.next("audio")
        await caller.next("agent_end")

    assert talk(desk_agent(), do).said() == ["Arr, it is noon."]


def test_a_tool() -> None:
    cities: list[str] = []

    @function_tool
    def get_weather(city: str) -> str:
        """The weather of a city."""
        cities.append(city)
        return "Sunny."

    async def do(caller: Caller) -> None:
        caller.say("weather")
        await caller.next("tool_end")
        await caller.next("audio")
        await caller.next("agent_end")

    caller = talk(desk_agent(tools=[get_weather]), do)
    assert cities == ["Oslo"], "once"
    assert caller.said()[-1] == "I looked: Sunny."


def test_a_handoff() -> None:
    refunds = RealtimeAgent(name="Refunds", instructions=REFUNDS)

    async def do(caller: Caller) -> None:
        caller.say("refund")
        event = await caller.next("handoff")
        assert (event.from_agent.name, event.to_agent.name) == ("Desk", "Refunds")
        await caller.next("audio")
        await caller.next("agent_end")

    caller = talk(desk_agent(handoffs=[realtime_handoff(refunds)]), do)
    assert caller.said()[-1] == "The refund desk is here.", "the new instructions hold for the next answer"


def test_an_approval() -> None:
    deleted: list[bool] = []

    @function_tool(needs_approval=True)
    def delete_account() -> str:
        """Deletes it."""
        deleted.append(True)
        return "Deleted."

    async def do(caller: Caller) -> None:
        caller.say("account")
        event = await caller.next("tool_approval_required")
        assert not deleted
        await caller.session.approve_tool_call(event.call_id)
        await caller.next("tool_end")
        await caller.next("audio")
        await caller.next("agent_end")

    caller = talk(desk_agent(tools=[delete_account]), do)
    assert deleted == [True] and caller.said()[-1] == "I looked: Deleted."


@pytest.mark.parametrize("detection", [{"type": "semantic_vad"}, {"type": "server_vad", "interrupt_response": True}])
def test_an_interruption(detection: dict[str, Any]) -> None:
    async def do(caller: Caller) -> None:
        caller.say("story")
        await caller.next("audio")
        await asyncio.sleep(0.6)
        caller.say("time")
        await caller.next("audio_interrupted")
        await caller.until(lambda: QUESTIONS[300] in caller.texts("user"))
        await caller.until(lambda: len(caller.sent("response.done")) >= 2)

    caller = talk(desk_agent(), do, settings={"turn_detection": detection})
    statuses = [event["response"]["status"] for event in caller.sent("response.done")]
    assert statuses == ["cancelled", "completed"]
    assert caller.sent("conversation.item.truncated"), "the SDK truncates, and is answered"
    assert caller.said()[-1] == "Arr, it is noon."


def test_the_sdks_own_interrupt_with_and_without_an_answer() -> None:
    async def do(caller: Caller) -> None:
        await caller.session.interrupt()  # nothing to interrupt
        caller.say("story")
        await caller.next("audio")
        await asyncio.sleep(0.6)  # what nothing was heard of is still to be answered
        await caller.session.interrupt()
        await caller.next("audio_interrupted")
        await caller.until(lambda: len(caller.sent("response.done")) == 1)
        assert caller.sent("response.done")[0]["response"]["status"] == "cancelled"
        await asyncio.sleep(1.5)  # what is said sooner belongs to the same turn
        caller.say("time")
        await caller.until(lambda: "Arr, it is noon." in caller.said())

    talk(desk_agent(), do)


def test_a_guardrail() -> None:
    async def check(context: Any, agent: Any, output: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered="swordfish" in str(output))

    async def do(caller: Caller) -> None:
        caller.say("secret")
        await caller.next("guardrail_tripped")
        await caller.until(lambda: "Let us talk about something else." in caller.said())

    caller = talk(
        desk_agent(output_guardrails=[OutputGuardrail(guardrail_function=check, name="no secrets")]),
        do,
        guardrails_settings={"debounce_text_length": 20},
    )
    assert caller.sent("response.done")[0]["response"]["status"] == "cancelled"


def test_an_update_in_the_middle_of_a_session() -> None:
    async def do(caller: Caller) -> None:
        await caller.session.update_agent(RealtimeAgent(name="Other", instructions="You are kind."))
        caller.say("time")
        await caller.until(lambda: len(caller.said()) == 1)

    assert talk(desk_agent(), do).said() == ["It is noon."]


class Repeat(VoiceWorkflowBase):
    """A workflow that says what it heard."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def run(self, transcription: str) -> AsyncIterator[str]:
        self.heard.append(transcription)
        yield transcription


def test_agents_voice_with_streamed_audio_has_its_turns_heard_here() -> None:
    """Its speech-to-text is a transcription session of ours, its speech comes by REST."""

    async def main() -> tuple[list[str], list[str], int]:
        async with serving(desk()) as (address, _):
            provider = OpenAIVoiceModelProvider(base_url=f"http://{address}/v1", api_key="any")
            workflow, audio = Repeat(), StreamedAudioInput()
            config = VoicePipelineConfig(model_provider=provider, tracing_disabled=True)
            result = await VoicePipeline(workflow=workflow, config=config).run(audio)

            async def speak() -> None:
                for part in (tone("time"), silence(1.5), tone("weather"), silence(2.0)):
                    for at in range(0, len(part), CHUNK):
                        await audio.add_audio(part[at : at + CHUNK])
                        await asyncio.sleep(0.02)
                await audio.add_audio(None)

            speaking = asyncio.create_task(speak())
            kinds, samples = [], 0
            async with asyncio.timeout(60):
                async for event in result.stream():
                    if event.type == "voice_stream_event_audio":
                        samples += len(event.data)
                    else:
                        kinds.append(event.event)
            await speaking
            return workflow.heard, kinds, samples

    heard, kinds, samples = run_networked(main())
    assert heard == [QUESTIONS[300], QUESTIONS[400]]
    assert kinds.count("turn_ended") == 2
    assert samples / 24000 == pytest.approx(sum(map(len, heard)) * 0.06, rel=0.1)
