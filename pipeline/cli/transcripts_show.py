"""Prints a recorded conversation in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from antiphon.pipeline.transcript import SessionInfo, TurnView
from antiphon.pipeline.transcript.export import wall
from antiphon.pipeline.usage import EngineUsage
from antiphon.pipeline.waterfall import BESIDE_THE_BARS, render, waterfall

_NAMES_WIDE = 9


def print_session(
    console: Console,
    info: SessionInfo,
    turns: Sequence[TurnView],
    *,
    times: bool = False,
    usage: Sequence[EngineUsage] = (),
) -> None:
    """The whole conversation, oldest turn first.

    :param usage: of the whole session.
    """
    facts = [f"{info.started_at.astimezone():%Y-%m-%d %H:%M:%S}", f"{info.turns} turns"]
    facts += [f"with {info.person}"] if info.person else []
    facts += [f"continues {info.resumed_from}"] if info.resumed_from else []
    facts += ["recorded"] if info.audio_files else []
    facts += [] if info.ended else ["not ended: it is going on, or its process died"]
    console.print(Text.assemble((info.id, "bold"), (f"  {', '.join(facts)}", "dim")))
    for turn in turns:
        console.print()
        _print_turn(console, info, turn, times=times)
    if usage:
        console.print()
        console.print(Text("used in all", "dim"))
        for line in usage_lines(usage):
            console.print(Text(f"  {line}", "dim"))


def _print_turn(console: Console, info: SessionInfo, turn: TurnView, *, times: bool) -> None:
    about = [f"turn {turn.turn}"] if turn.turn else []
    about += [f"{wall(info, turn).astimezone():%H:%M:%S}"] if turn.at is not None else []
    about += [f"answered in {turn.response_ms / 1000:.2f} s"] if turn.response_ms is not None else []
    about += [turn.status] if turn.turn and turn.status != "completed" else []
    console.print(Text("  ".join(about), "dim"))
    if turn.user:
        _say(console, "You", Text(turn.user), "bold cyan")
    for call in turn.calls:
        _say(console, "tool", Text(f"{call.name} {call.arguments}"), "magenta")
        if call.output is None:
            _say(console, "", Text("in doubt: no result was recorded", "bold yellow"), "magenta")
        else:
            _say(console, "", Text(call.output, "dim"), "magenta")
    if turn.heard or turn.unheard:
        reply = Text(turn.heard)
        if turn.unheard.strip():
            reply.append(turn.unheard.rstrip(), "dim strike")
            reply.append("  (struck out: not heard)", "dim")
        _say(console, "Antiphon", reply, "bold green")
    for error in turn.errors:
        _say(console, "error", Text(error), "red")
    if times and turn.usage:
        console.print(Text(f"used: {'; '.join(usage_lines(turn.usage))}", "dim"))
    if times:
        width = max(10, min(40, console.width - BESIDE_THE_BARS))
        for line in render(waterfall(turn.timings), width):
            console.print(Text(line, "dim"))


def usage_lines(usage: Sequence[EngineUsage]) -> list[str]:
    """What engines used, one line an engine."""
    engines: dict[tuple[str, str], list[str]] = {}
    for one in usage:
        in_vain = f" ({one.wasted:,g} in vain)" if one.wasted else ""
        said = engines.setdefault((one.stage, one.engine), [])
        said.append(f"{one.amount:,g} {_UNITS.get(one.unit, one.unit)}{in_vain}")
    return [" ".join(filter(None, [stage, engine, ", ".join(said)])) for (stage, engine), said in engines.items()]


_UNITS = {
    "audio_s": "s of audio",
    "input_tokens": "tokens in",
    "output_tokens": "tokens out",
    "cached_tokens": "tokens found evaluated",
    "output_pieces": "pieces of answers that were stopped",
    "characters": "characters",
}


def _say(console: Console, who: str, what: Text, style: str) -> None:
    row = Table.grid(
        Column(width=_NAMES_WIDE, justify="right", style=style), Column(), padding=(0, 1, 0, 0), pad_edge=False
    )
    row.add_row(who, what)
    console.print(row)
