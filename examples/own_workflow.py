"""An agent of one's own, with no language model: dictation that reads back what it has written down.

In this folder: antiphon run own_workflow.yaml --in QUESTION.wav --out ANSWER.wav
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from antiphon import VoiceWorkflowBase


class Dictation(VoiceWorkflowBase):
    def __init__(self, title: str = "Note") -> None:
        self.title = title
        self.lines: list[str] = []

    async def on_start(self) -> AsyncIterator[str]:
        yield f"{self.title}. Please go on."

    async def run(self, transcription: str) -> AsyncIterator[str]:
        self.lines.append(transcription)
        yield f"Line {len(self.lines)}. "
        yield transcription
