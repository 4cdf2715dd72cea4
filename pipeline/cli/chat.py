"""`antiphon chat`: a conversation in text with the configured workflow and language model."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from antiphon.engines.errors import AntiphonError, EngineTimeout
from antiphon.engines.protocols import ToolCall, Usage
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.cli.common import EXIT_FAILED, EXIT_INTERRUPTED, ConfigArgument, JsonOption, SetOption, explained
from antiphon.pipeline.cli.show import show_fallback
from antiphon.pipeline.config import Config, load_config
from antiphon.pipeline.conversation import Conversation, Item, new_id
from antiphon.pipeline.workflow import TurnContext, Workflow, WorkflowEvent

logger = logging.getLogger(__name__)

_HELP = "/reset forgets the conversation, /quit or Ctrl-D ends it, Ctrl-C stops an answer"
_PROMPT = f"{'You':>8} "


@explained
def chat(config: ConfigArgument = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Talk in text with the configured workflow and language model; nothing is heard or spoken.

    In a terminal the answer is shown as it comes. Otherwise standard input has one question a line, and each is
    answered with one line of text (empty where the turn failed), or with --json one object. /reset forgets the
    conversation so far, /quit or the end of input ends it. A turn that fails does not end the conversation.

    Exit codes: 0 done; 1 a turn failed (not in a terminal); 2 wrong usage or configuration; 3 a package or model is
    missing; 130 stopped with Ctrl-C.
    """
    loaded = load_config(config, overrides=overrides or ())
    interactive = sys.stdin.isatty() and not as_json
    console = Console(stderr=not interactive, highlight=False)
    assembly = Assembly(loaded, text_only=True, on_fallback=partial(show_fallback, console))
    # One runner, and a run of it for each turn: between them the terminal's line editing has the main thread.
    with asyncio.Runner() as runner:
        began_s = time.monotonic()
        runner.run(_enter(assembly))
        try:
            talk = _Talk(loaded, assembly, runner)
            if interactive:
                console.print(
                    f"[dim]ready in {time.monotonic() - began_s:.1f} s ({config or 'local.yaml'}); {_HELP}[/]"
                )
                _in_terminal(talk, console)
            elif _answer_lines(talk, as_json):
                raise typer.Exit(EXIT_FAILED)
        finally:
            runner.run(_leave(assembly))


async def _enter(assembly: Assembly) -> None:
    await assembly.__aenter__()


async def _leave(assembly: Assembly) -> None:
    await assembly.__aexit__(None, None, None)


# ---------------------------------------------------------------------------------------------- the conversation


@dataclass(slots=True)
class Answer:
    """What became of one question."""

    turn: int
    user: str
    assistant: str = ""
    status: str = "completed"
    """"completed", "failed" or "cancelled"."""
    error: str = ""
    hint: str = ""
    tools: list[dict[str, str]] = field(default_factory=list)
    first_text_ms: float | None = None
    total_ms: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


class _Talk:
    """The workflow and its history."""

    def __init__(self, config: Config, assembly: Assembly, runner: asyncio.Runner) -> None:
        self._config = config
        self._assembly = assembly
        self._runner = runner
        self._session = new_id("chat")
        self._turn = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything: a new workflow, an empty history."""
        self._conversation = Conversation()
        self._workflow: Workflow = self._assembly.workflow()

    def ask(self, text: str, show: Callable[[str | WorkflowEvent], None]) -> Answer:
        """One turn. `show` gets every piece as it comes. Errors and Ctrl-C end it; what was said stays."""
        self._turn += 1
        answer = Answer(self._turn, text)
        began_s = time.monotonic()
        try:
            self._runner.run(self._respond(answer, began_s, show))
        except KeyboardInterrupt:
            answer.status = "cancelled"
        except AntiphonError as error:
            answer.status, answer.error, answer.hint = "failed", error.message, error.hint
        except Exception as error:  # a workflow may be the user's code, and raise anything
            logger.info("the workflow broke", exc_info=error)
            answer.status, answer.error = "failed", f"{type(error).__name__}: {error}"
            answer.hint = f"raised in the workflow '{self._config.workflow.kind}'; antiphon -v chat shows where"
        answer.total_ms = round(1000 * (time.monotonic() - began_s), 1)
        self._remember(answer)
        return answer

    async def _respond(self, answer: Answer, began_s: float, show: Callable[[str | WorkflowEvent], None]) -> None:
        settings = self._config.workflow
        history = self._conversation.messages(max_turns=settings.history_turns, max_tokens=settings.max_history_tokens)
        committed = asyncio.Event()
        committed.set()
        context = TurnContext(self._session, answer.turn, 0, answer.user, history, None, committed)
        pieces: Any = self._workflow.respond(context)
        async with contextlib.AsyncExitStack() as stack:
            if hasattr(pieces, "aclose"):
                await stack.enter_async_context(contextlib.aclosing(pieces))
            async for piece in self._in_time(pieces):
                _take(answer, piece, began_s)
                show(piece)

    async def _in_time(self, pieces: Any) -> Any:
        """The pieces, as long as none lets itself be waited for longer than the session allows."""
        wait_s = self._config.session.answer_deadline_s
        iterator = aiter(pieces)
        while True:
            try:
                async with asyncio.timeout(wait_s):
                    piece = await anext(iterator)
            except StopAsyncIteration:
                return
            except TimeoutError:
                hint = "see session.answer_deadline_s"
                raise EngineTimeout(f"no text for {wait_s:g} s", stage="workflow", hint=hint) from None
            yield piece

    def _remember(self, answer: Answer) -> None:
        """A turn without a word of an answer leaves no trace: asked again, it would stand there twice."""
        if not answer.assistant:
            return
        self._conversation.add(Item(id=new_id(), role="user", text=answer.user, turn=answer.turn))
        self._conversation.add(Item(id=new_id(), role="assistant", text=answer.assistant, turn=answer.turn))


def _take(answer: Answer, piece: str | WorkflowEvent, began_s: float) -> None:
    if isinstance(piece, str):
        if piece and answer.first_text_ms is None:
            answer.first_text_ms = round(1000 * (time.monotonic() - began_s), 1)
        answer.assistant += piece
    elif isinstance(piece, ToolCall):
        answer.tools.append({"name": piece.name, "arguments": piece.arguments})
    elif isinstance(piece, Usage):
        answer.input_tokens += piece.input_tokens
        answer.output_tokens += piece.output_tokens
        answer.cached_tokens += piece.cached_tokens


# ------------------------------------------------------------------------------------------------ in a terminal


def _in_terminal(talk: _Talk, console: Console) -> None:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 (its import gives `input` line editing and a history)
    for text in _typed(console):
        if text == "/reset":
            talk.reset()
            console.print("[dim]forgotten[/]")
        elif text.startswith("/"):
            console.print(f"[dim]{_HELP}[/]")
        else:
            _show_answer(talk, text, console)


def _typed(console: Console) -> Iterator[str]:
    """What the user types, until the end."""
    while True:
        try:
            text = input(_PROMPT).strip()
        except EOFError:
            console.print()
            return
        except KeyboardInterrupt:
            console.print()
            raise typer.Exit(EXIT_INTERRUPTED) from None
        if text == "/quit":
            return
        if text:
            yield text


def _show_answer(talk: _Talk, text: str, console: Console) -> None:
    writer = WordWrap(sys.stdout.write, shutil.get_terminal_size().columns, len(_PROMPT))
    console.print(Text("Antiphon ", "bold green"), end="")

    def show(piece: str | WorkflowEvent) -> None:
        if isinstance(piece, str):
            writer.push(piece)
        elif isinstance(piece, ToolCall):
            writer.push(f"[{piece.name} {piece.arguments}] ")
        sys.stdout.flush()

    answer = talk.ask(text, show)
    writer.finish()
    sys.stdout.flush()
    console.print()
    if answer.status == "cancelled":
        console.print("[dim]stopped[/]")
    if answer.error:
        console.print(Text(f"error: {answer.error}", "red"))
        if answer.hint:
            console.print(Text(f"  {answer.hint}"), soft_wrap=True)


class WordWrap:
    """Writes text as it comes, whole words to a line: a word is held back until it has ended."""

    def __init__(self, write: Callable[[str], Any], columns: int, indent: int) -> None:
        """
        :param columns: width of the screen.
        :param indent: columns that are left free on every line; the cursor stands behind them now.
        """
        self._write = write
        self._columns = max(columns, indent + 20)
        self._indent = indent
        self._at = indent
        self._space = ""
        self._word = ""

    def push(self, text: str) -> None:
        for character in text:
            if not character.isspace():
                self._word += character
                continue
            self._end_word()
            if character == "\n":
                self._break()
            elif self._at > self._indent:
                self._space = " "

    def finish(self) -> None:
        self._end_word()

    def _end_word(self) -> None:
        if not self._word:
            return
        if self._at > self._indent and self._at + len(self._space) + len(self._word) > self._columns:
            self._break()
        self._write(self._space + self._word)
        self._at += len(self._space) + len(self._word)
        self._space = self._word = ""

    def _break(self) -> None:
        self._write("\n" + " " * self._indent)
        self._at = self._indent
        self._space = ""


# ------------------------------------------------------------------------------------------- for other programs


def _answer_lines(talk: _Talk, as_json: bool) -> int:
    """Answer standard input line by line; returns how many turns failed."""
    failed = 0
    for line in sys.stdin:
        text = line.strip()
        if text == "/quit":
            break
        if text == "/reset":
            talk.reset()
        elif text:
            answer = talk.ask(text, lambda piece: None)
            if answer.status == "cancelled":
                raise typer.Exit(EXIT_INTERRUPTED)
            failed += answer.status == "failed"
            _print_line(answer, as_json)
    return failed


def _print_line(answer: Answer, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(answer), ensure_ascii=False))
    else:
        typer.echo(" ".join(answer.assistant.split()))
        if answer.error:
            hint = f"\n  {answer.hint}" if answer.hint else ""
            typer.echo(f"error: {answer.error}{hint}", err=True)
    sys.stdout.flush()
