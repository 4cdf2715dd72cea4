"""The first step of a reply: what the workflow gives is taken in and told, and its text is cut into pieces."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from antiphon.engines.errors import EngineTimeout
from antiphon.engines.protocols import ToolCall, Usage
from antiphon.pipeline.errors import WorkflowError
from antiphon.pipeline.events import TextDeltaEvent, ToolCallEvent, ToolResultEvent
from antiphon.pipeline.reply.contracts import Emit, ReplySettings, ReplyTimes, Splitter
from antiphon.pipeline.reply.flow import End, Failure, Piece
from antiphon.pipeline.text.encodable import encodable
from antiphon.pipeline.workflow import EndCall, Filler, ToolResult, WorkflowEvent


class Wording:
    """One per reply, which runs it. Owns what the workflow gave for it."""

    def __init__(self, splitter: Splitter, *, emit: Emit, settings: ReplySettings, times: ReplyTimes) -> None:
        self._splitter = splitter
        self._emit = emit
        self._settings = settings
        self._times = times
        self.text = ""
        self.did: list[ToolCall | ToolResult] = []
        self.usage = Usage()
        self.ends_call = False

    async def split(self, items: asyncio.Queue[Any], out: asyncio.Queue[Any]) -> None:
        """Cut the text among the workflow's items into pieces, up to its end.

        :raises EngineTimeout: nothing came in time.
        :raises WorkflowError: something came that no workflow may give.
        """
        stalled = False
        while True:
            patient = not self.text or stalled
            longest_s = self._settings.workflow_gap_s if self.text else self._settings.workflow_timeout_s
            wait_s = longest_s if patient else self._settings.stall_s
            try:
                async with asyncio.timeout(wait_s):
                    item = await items.get()
            except TimeoutError:
                if patient:
                    raise EngineTimeout(f"the workflow gave no text for {wait_s:g} s", stage="workflow") from None
                stalled = True
                await self._hand_over(self._splitter.stall(), out)
                continue
            stalled = False
            if isinstance(item, Filler):
                await out.put(Piece(item, filler=True))
            elif isinstance(item, str):
                await self._hand_over(self._take_text(encodable(item)), out)
            elif isinstance(item, End | Failure):
                await self._hand_over(self._splitter.finish(), out)
                await out.put(item)
                return
            else:
                self._take_event(item)

    async def _hand_over(self, texts: list[str], out: asyncio.Queue[Any]) -> None:
        for text in texts:
            if self._times.first_clause_s is None:
                self._times.first_clause_s = asyncio.get_running_loop().time()
            await out.put(Piece(text))

    def _take_text(self, text: str) -> list[str]:
        """Returns the pieces that it completes."""
        if text:
            if self._times.first_token_s is None:
                self._times.first_token_s = asyncio.get_running_loop().time()
            self.text += text
            self._emit(TextDeltaEvent, text=text)
        pieces = self._splitter.push(text)
        return self._splitter.hurry() if not pieces and self._first_clause_is_late() else pieces

    def _first_clause_is_late(self) -> bool:
        times = self._times
        if times.first_clause_s is not None or times.first_token_s is None:
            return False
        return asyncio.get_running_loop().time() >= times.first_token_s + self._settings.hurry_s

    def _take_event(self, event: WorkflowEvent) -> None:
        match event:
            case ToolCall():
                if not isinstance(event.arguments, str):
                    raise WorkflowError(
                        f"the workflow called a tool with arguments that are a {type(event.arguments).__name__}",
                        hint="give them as text, a JSON object",
                    )
                self.did.append(event)
                self._emit(ToolCallEvent, call_id=event.id, name=event.name, arguments=event.arguments)
            case ToolResult():
                if not isinstance(event.output, str):
                    event = replace(event, output=str(event.output))
                self.did.append(event)
                self._emit(ToolResultEvent, call_id=event.call_id, name=event.name, output=event.output)
            case EndCall():
                self.ends_call = True
            case Usage():
                self.usage = Usage(
                    self.usage.input_tokens + event.input_tokens,
                    self.usage.output_tokens + event.output_tokens,
                    self.usage.cached_tokens + event.cached_tokens,
                )
            case _:
                raise WorkflowError(
                    f"the workflow gave a {type(event).__name__}",
                    hint="yield str pieces, and the events of antiphon.pipeline.workflow",
                )
