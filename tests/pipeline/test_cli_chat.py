"""`antiphon chat` on scripted engines: line by line for programs, and in a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_engines import write_config
from typer.testing import CliRunner, Result

from antiphon.pipeline.cli import app
from antiphon.pipeline.cli.chat import WordWrap

PROMPT = r"(^|\n) {5}You $"
SUPPORT = Path(__file__).parents[1] / "support"


def chat(*arguments: str | Path, lines: str) -> Result:
    words = ["chat", *(str(argument) for argument in arguments)]
    result = CliRunner().invoke(app, words, input=lines, env={"COLUMNS": "80", "NO_COLOR": "1"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def turns(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Ears and mouth that cannot be loaded: a chat must not need them."""
    broken = '{engine: "scripted_engines:Raising"}'
    return write_config(tmp_path, stt=broken, tts=broken)


# ------------------------------------------------------------------------------------------ line by line


def test_one_line_for_each_question_and_the_history_grows(config: Path) -> None:
    result = chat(config, lines="one\n\n  two  \n/reset\nthree\n/quit\nfour\n")
    assert result.exit_code == 0
    # system and question; then the first pair as well; after /reset as at the start
    assert result.stdout.splitlines() == [
        "2 messages. You said: one.",
        "4 messages. You said: two.",
        "2 messages. You said: three.",
    ]


def test_a_turn_that_fails_does_not_end_the_conversation(config: Path) -> None:
    result = chat(config, lines="break at once\nraise\nfine\n")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == ["", "", "2 messages. You said: fine."], "an empty line keeps the count"
    assert "error: a scripted failure" in result.stderr
    assert "error: ValueError: not expected" in result.stderr


def test_what_was_said_before_a_failure_stays(config: Path) -> None:
    first, second = turns(chat(config, "--json", lines="break later\nfine\n"))
    assert (first["assistant"], first["status"], first["error"]) == ("I begin ", "failed", "a scripted failure")
    assert second["assistant"].startswith("4 messages."), "the history has what was heard of the broken answer"


def test_json_has_one_object_a_turn(config: Path) -> None:
    (turn,) = turns(chat(config, "--json", lines="one"))
    assert (turn["turn"], turn["user"], turn["status"], turn["error"]) == (1, "one", "completed", "")
    assert turn["assistant"] == "2 messages.\nYou said: one."
    assert 0 <= turn["first_text_ms"] <= turn["total_ms"]


def test_a_workflow_of_the_users_own(tmp_path: Path) -> None:
    path = write_config(tmp_path, workflow='{kind: "scripted_engines:Tools"}')
    (turn,) = turns(chat(path, "--json", lines="hm\n"))
    assert (turn["assistant"], turn["tools"]) == ("Noon. hm", [{"name": "clock", "arguments": "{}"}])
    broken = chat(write_config(tmp_path, workflow='{kind: "scripted_engines:broken_workflow"}'), lines="lost\n")
    assert (broken.exit_code, broken.stdout) == (1, "\n")
    assert "LookupError: lost" in broken.stderr and "scripted_engines:broken_workflow" in broken.stderr


def test_an_answer_that_does_not_come(tmp_path: Path) -> None:
    slow = write_config(
        tmp_path,
        llm='{engine: "scripted_engines:Llm", delta_delay_s: 30}',
        session="{answer_deadline_s: 0.05}",
    )
    (turn,) = turns(chat(slow, "--json", lines="one\n"))
    assert (turn["status"], turn["error"], turn["assistant"]) == ("failed", "no text for 0.05 s", "2 ")


def test_the_history_is_as_long_as_configured(tmp_path: Path) -> None:
    path = write_config(tmp_path, workflow="{kind: chat, history_turns: 0}")
    answers = chat(path, lines="one\ntwo\n").stdout.splitlines()
    assert [answer.partition(" ")[0] for answer in answers] == ["2", "2"]


def test_exit_codes(tmp_path: Path) -> None:
    assert chat("none.yaml", lines="").exit_code == 2
    missing = chat(write_config(tmp_path, llm='{engine: "scripted_engines:NEEDY"}'), lines="x\n")
    assert (missing.exit_code, 'pip install "antiphon[cloud]"' in missing.stderr) == (3, True)
    assert chat(write_config(tmp_path), lines="").exit_code == 0


# ------------------------------------------------------------------------------------------ in a terminal


class Terminal:
    """A chat in a terminal of its own: what it shows, and what is typed."""

    def __init__(self, fd: int, process: subprocess.Popen[bytes]) -> None:
        self._fd = fd
        self.process = process
        self.screen = ""

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def wait_for(self, pattern: str, seconds: float = 60.0) -> None:
        """Wait until it shows this, after what was waited for before."""
        until_s = time.monotonic() + seconds
        while not (found := re.search(pattern, self.screen)):
            assert time.monotonic() < until_s, f"no {pattern!r} in {self.screen!r}"
            if select.select([self._fd], [], [], 0.1)[0]:
                self.screen += os.read(self._fd, 4096).decode().replace("\r", "")
        self.screen = self.screen[found.end() :]


@contextmanager
def terminal(*arguments: str | Path) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT), "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    command = [sys.executable, "-m", "antiphon", "chat", *(str(argument) for argument in arguments)]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    ) as process:
        os.close(theirs)
        try:
            yield Terminal(ours, process)
        finally:
            process.kill()
            os.close(ours)


def test_in_a_terminal(config: Path) -> None:
    with terminal(config, "--set", "llm.delta_delay_s=0.2") as shown:
        shown.wait_for("ready in .* s")
        shown.wait_for(PROMPT)
        shown.type("one\n")
        shown.wait_for(r"Antiphon 2 messages\.\n {9}You said: one\.\n")
        shown.wait_for(PROMPT)
        shown.type("stop this, it is much too long a sentence\n")
        shown.wait_for("Antiphon 4 ")
        shown.process.send_signal(signal.SIGINT)
        shown.wait_for("stopped")
        shown.wait_for(PROMPT)
        shown.type("/help\n")
        shown.wait_for("/reset forgets")
        shown.type("/reset\n")
        shown.wait_for("forgotten")
        shown.type("break at once\n")
        shown.wait_for("error: a scripted failure")
        shown.wait_for(PROMPT)
        shown.type("two\n")
        shown.wait_for(r"Antiphon 2 messages\.")
        shown.wait_for(PROMPT)
        shown.type("\x04")
        assert shown.process.wait(30) == 0


def test_ctrl_c_at_the_prompt(config: Path) -> None:
    with terminal(config) as shown:
        shown.wait_for(PROMPT)
        # Between the prompt and the wait for a key lies a moment at which the interpreter notes Ctrl-C and sleeps on.
        for _ in range(10):
            shown.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                assert shown.process.wait(3) == 130
                break
        assert shown.process.poll() == 130


# ------------------------------------------------------------------------------------------ lines of words


@given(st.lists(st.text("ab \n.", max_size=30)), st.integers(1, 60), st.integers(0, 12))
def test_words_are_wrapped_whole(pieces: list[str], columns: int, indent: int) -> None:
    written: list[str] = []
    wrap = WordWrap(written.append, columns, indent)
    for piece in pieces:
        wrap.push(piece)
    wrap.finish()
    shown = " " * indent + "".join(written)
    assert shown.split() == "".join(pieces).split(), "no word is lost, doubled or broken"
    for line in shown.split("\n"):
        assert line.startswith(" " * indent)
        assert len(line) <= max(columns, indent + 20) or len(line.split()) == 1


def test_text_is_shown_as_it_comes() -> None:
    written: list[str] = []
    wrap = WordWrap(written.append, 80, 0)
    wrap.push("Hello wor")
    assert "".join(written) == "Hello"
    wrap.push("ld.\nNext ")
    assert "".join(written) == "Hello world.\nNext"
