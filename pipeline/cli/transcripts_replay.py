"""Runs a replay and prints what is different."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import typer
from rich.console import Console
from rich.text import Text

from antiphon.engines.audio import AudioFrame
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config import Config
from antiphon.pipeline.config.model import TranscriptConfig
from antiphon.pipeline.replay import Comparison, replay
from antiphon.pipeline.transcript import TurnView
from antiphon.pipeline.transcript.recording import RecordedAudio


def run_replay(
    config: Config, audio: RecordedAudio, recorded: Sequence[TurnView], *, fast: bool, run_tools: bool, as_json: bool
) -> None:
    """:raises WorkflowError: the workflow may call tools, and may not."""
    console = Console(stderr=as_json, highlight=False)
    if not audio.complete:
        console.print(Text("the recording was cut off: its last moments may be missing", "yellow"))
    user = AudioFrame(np.ascontiguousarray(audio.samples[:, 0]), audio.rate_hz)

    unrecorded = config.model_copy(update={"transcript": TranscriptConfig()})

    async def run() -> list[Comparison]:
        async with Assembly(unrecorded) as assembly:
            return await replay(assembly, user, recorded, fast=fast, run_tools=run_tools)

    pairs = asyncio.run(run())
    if as_json:
        typer.echo(json.dumps([pair.to_dict() for pair in pairs], indent=2, ensure_ascii=False))
        return
    for number, pair in enumerate(pairs, 1):
        print_comparison(console, number, pair, timed=not fast)
    same = _Sums(pairs)
    console.print(
        Text(
            f"\n{len(pairs)} turns: heard the same in {same.heard}, said the same in {same.said}, "
            f"called the same tools in {same.called}",
            "bold",
        )
    )


@dataclass(frozen=True, slots=True)
class _Sums:
    pairs: Sequence[Comparison]

    @property
    def heard(self) -> int:
        return sum(pair.same_hearing for pair in self.pairs)

    @property
    def said(self) -> int:
        return sum(pair.same_answer for pair in self.pairs)

    @property
    def called(self) -> int:
        return sum(pair.same_calls for pair in self.pairs)


def print_comparison(console: Console, number: int, pair: Comparison, *, timed: bool) -> None:
    """One turn: a line for what stayed the same, two for what did not."""
    console.print(Text(f"\nturn {number}", "bold"))
    then, now = pair.then, pair.now
    if then is None or now is None:
        there, where = (then, "then only") if now is None else (now, "now only")
        assert there is not None
        console.print(Text(f"  {where}: {there.user or '(nothing heard)'} -> {there.heard}", "yellow"))
        return
    _row(console, "heard", then.user, now.user, same=pair.same_hearing)
    _row(console, "said", then.heard + then.unheard, now.heard + now.unheard, same=pair.same_answer)
    if then.calls or now.calls:
        _row(console, "called", _calls(then), _calls(now), same=pair.same_calls)
    if then.status != now.status:
        _row(console, "status", then.status, now.status, same=False)
    if timed:
        console.print(Text(f"  {'answered':>8}  {_seconds(then)} then, {_seconds(now)} now", "dim"))


def _row(console: Console, what: str, then: str, now: str, *, same: bool) -> None:
    if same:
        console.print(Text(f"  {what:>8}  {then}"))
        return
    console.print(Text(f"  {what:>8}  - {then}", "red"))
    console.print(Text(f"  {'':>8}  + {now}", "green"))


def _calls(turn: TurnView) -> str:
    return ", ".join(f"{call.name}({call.arguments})" for call in turn.calls) or "nothing"


def _seconds(turn: TurnView) -> str:
    return "not" if turn.response_ms is None else f"in {turn.response_ms / 1000:.2f} s"
