"""Shows a conversation as it happens, and each turn's waterfall."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from antiphon.engines.fallback import FallbackEvent
from antiphon.pipeline.events import (
    ErrorEvent,
    Event,
    Interrupted,
    ToolCallEvent,
    TranscriptEvent,
    TurnEnded,
    WarningEvent,
)
from antiphon.pipeline.waterfall import BESIDE_THE_BARS, render, waterfall


@dataclass(slots=True)
class TurnRecord:
    """What is reported of one turn."""

    turn: int
    user: str = ""
    assistant: str = ""
    status: str = ""
    unheard: str = ""
    """Of an interrupted reply: what was not heard."""
    error: str = ""
    timings: dict[str, float | None] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; times in ms from the last speech sample."""
        return {
            "turn": self.turn,
            "status": self.status,
            "user": self.user,
            "assistant": self.assistant,
            "unheard": self.unheard,
            "error": self.error,
            "waterfall_ms": {
                step.name: {"done": round(step.done_ms, 1), "part": round(step.part_ms, 1)}
                for step in waterfall(self.timings)
            },
        }


class Conversation:
    """An event sink that prints and keeps what happened."""

    def __init__(self, console: Console, *, waterfalls: bool) -> None:
        self.turns: list[TurnRecord] = []
        self._console = console
        self._waterfalls = waterfalls
        self._open: dict[int, TurnRecord] = {}

    def on_event(self, event: Event) -> None:
        record = self._open.setdefault(event.turn, TurnRecord(event.turn))
        match event:
            case TranscriptEvent(role="user", text=text, final=True):
                record.user = text
                self._print("You", text, "bold cyan")
            case TranscriptEvent(role="assistant", text=text):
                record.assistant = text
                self._print("Antiphon", text, "bold green")
            case ToolCallEvent(name=name, arguments=arguments):
                self._print("tool", f"{name} {arguments}", "magenta")
            case Interrupted(heard=heard, unheard=unheard, acknowledged=acknowledged):
                record.assistant, record.unheard = heard, unheard
                if not acknowledged:
                    self._print(
                        "",
                        f"(interrupted; not heard: {unheard.strip()})" if unheard.strip() else "(interrupted)",
                        "dim",
                    )
            case WarningEvent(message=message):
                self._print("warning", message, "yellow")
            case ErrorEvent(stage=stage, message=message):
                record.error = f"{stage}: {message}"
                self._print("error", record.error, "red")
            case TurnEnded(status="dismissed"):
                self._print("", "(not taken as a turn: said into the reply)", "dim")
            case TurnEnded() if event.status != "no_speech":
                record.status = event.status
                record.timings = dataclasses.asdict(event.timings)
                self.turns.append(record)
                if self._waterfalls:
                    width = max(10, min(40, self._console.width - BESIDE_THE_BARS))
                    for line in render(waterfall(record.timings), width):
                        self._console.print(Text(line, style="dim"))

    def _print(self, who: str, text: str, style: str) -> None:
        row = Table.grid(Column(width=8, justify="right", style=style), Column(), padding=(0, 1, 0, 0), pad_edge=False)
        row.add_row(who, Text(text))
        self._console.print(row)


def show_fallback(console: Console, event: FallbackEvent) -> None:
    """Say that an engine of a chain failed, or works again."""
    to = f", now {event.to}" if event.to else ""
    console.print(Text(f"{event.stage}: {event.engine} {event.kind.replace('_', ' ')}{to}", "yellow"))
