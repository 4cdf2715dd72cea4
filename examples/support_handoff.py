"""A support line: a desk that hands over to billing or to technical help, whom the caller then talks with.

Each recording is a turn of one conversation: python examples/support_handoff.py QUESTION.wav [QUESTION.wav ...]
"""

from __future__ import annotations

import asyncio
import sys

import soundfile
from agents import Agent, function_tool

from antiphon import AudioInput, VoicePipeline
from antiphon.adapters.openai_agents import AgentWorkflow, ToolRules

INVOICES = {"1001": "paid", "1002": "open, 49 dollars, due on Friday"}
restarted: list[str] = []


@function_tool
def invoice_state(number: str) -> str:
    """Whether an invoice has been paid, by its number."""
    return f"Invoice {number} is {INVOICES.get(number, 'not known here')}."


@function_tool
def restart_router(customer: str) -> str:
    """Restart a customer's router from here."""
    restarted.append(customer)
    return f"The router of {customer} restarts; it takes two minutes."


billing = Agent(
    name="Billing",
    handoff_description="Invoices, payments and refunds.",
    instructions="You are the billing department of a support line. Answer in one short spoken sentence.",
    tools=[invoice_state],
)
technical = Agent(
    name="Technical",
    handoff_description="Connection problems: router, wireless, slow internet.",
    instructions="You are the technical help of a support line. Answer in one short spoken sentence.",
    tools=[restart_router],
)
desk = Agent(
    name="Desk",
    instructions="You answer a support line. Hand over to whom the question belongs; answer nothing else yourself.",
    handoffs=[billing, technical],
)
billing.handoffs, technical.handoffs = [technical], [billing]

RULES = {
    "invoice_state": ToolRules(say="One moment, I'll look that up."),
    "restart_router": ToolRules(timeout_s=5, on_interrupt="finish"),
}


async def main(*questions: str, config: str = "local.yaml") -> None:
    workflow = AgentWorkflow(desk, rules=RULES)
    async with VoicePipeline.from_config(config, workflow=workflow) as pipeline:
        for question in questions:
            samples, rate_hz = soundfile.read(question, dtype="int16")
            result = await pipeline.run(AudioInput(buffer=samples, frame_rate=rate_hz))
            async for event in result.stream():
                if event.type == "voice_stream_event_transcript" and event.final:
                    print(f"{'user' if event.role == 'user' else workflow.current_agent}: {event.text}")
                elif event.type == "voice_stream_event_error":
                    print(f"error: {event.error}", file=sys.stderr)
    await workflow.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
