"""The log: structured, with ids, and without a word of what was said."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from operated import call, operating
from scripted_config import GivenOptions
from served import config

from antiphon.engines.errors import EngineFailed
from antiphon.engines.testing import Heard, Reply, ScriptedLLM, run_virtual
from antiphon.pipeline.config import Config, engine_block
from antiphon.server.access.principal import SCOPES, Principal
from antiphon.server.observing.context import request_id, session_id
from antiphon.server.observing.logs import JsonFormatter, TextFormatter, configure, set_level

QUESTION, ANSWER = "where is the zeppelin", "The zeppelin is in Friedrichshafen."


@pytest.fixture
def restored() -> Iterator[None]:
    """The logging of the test run itself."""
    root, own = logging.getLogger(), logging.getLogger("antiphon")
    before = root.level, own.level, list(root.handlers)
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.setLevel(before[0])
    own.setLevel(before[1])
    for handler in before[2]:
        root.addHandler(handler)


class Quoting(ScriptedLLM):
    """Breaks, and says in its error what it was asked."""

    async def stream(self, *args: Any, **named: Any) -> Any:
        async for event in super().stream(*args, **named):
            yield event
            raise ValueError(f"cannot answer: {args[0]}")


def conversation(given: Config) -> None:
    async def main() -> None:
        async with operating(given) as service:
            caller = await call(service, Principal("key-7", SCOPES))
            for _ in range(2):
                await caller.ask()
            await caller.speak(0.6)  # and hangs up within a turn
            await caller.hang_up()

    run_virtual(main())


def quoting() -> Config:
    engine = Quoting([Reply.of(ANSWER)], repeat=True)
    block = engine_block("llm", "scripted_config:given", GivenOptions(engine=engine))
    return config(stt=[Heard(QUESTION)]).model_copy(update={"llm": (block,)})


@pytest.mark.parametrize("kind", ["json", "text"])
@pytest.mark.parametrize("breaks", [False, True])
def test_no_word_of_a_conversation_is_in_the_log(restored: None, kind: Any, breaks: bool) -> None:
    out = io.StringIO()
    configure(kind, "debug", out)
    conversation(quoting() if breaks else config(stt=[Heard(QUESTION)], llm=[Reply.of(ANSWER)]))
    written = out.getvalue().lower()
    assert "conversation begun" in written and "turn ended" in written and "conversation ended" in written
    assert ("a stage failed" in written) == breaks
    for word in [*QUESTION.split(), *ANSWER.strip(".").lower().split()]:
        if len(word) > 3:
            assert word not in written, f"'{word}' was said, and is in the log"


def test_json_lines_say_whom_they_are_about(restored: None) -> None:
    out = io.StringIO()
    configure("json", "info", out)
    conversation(config())
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    turn = next(line for line in lines if line["message"] == "turn ended")
    assert turn["status"] == "completed" and turn["turn"] == 1 and 100 < turn["ttfa_ms"] < 2000
    (ended,) = [line for line in lines if line["message"] == "conversation ended"]
    assert (ended["key"], ended["protocol"], ended["turns"]) == ("key-7", "stream", 2)
    assert ended["session"] == turn["session"] and ended["session"].startswith("sess_")
    assert ended["stt_audio_s"] > 1 and ended["tts_characters"] == 2 * len("It is noon.")


def line(
    formatter: logging.Formatter, message: str = "it broke", error: BaseException | None = None, **extra: Any
) -> str:
    record = logging.LogRecord("antiphon.x", logging.ERROR, "x.py", 1, message, (), None)
    if error is not None:
        record.exc_info = (type(error), error, error.__traceback__)
    vars(record).update(extra)
    return formatter.format(record)


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def test_errors_of_others_say_their_class_and_place_alone() -> None:
    shown = json.loads(line(JsonFormatter(), error=raised(KeyError("a secret"), EngineFailed("the model is gone"))))
    assert shown["error"] == "KeyError"
    assert any("in raised" in frame for frame in shown["traceback"])
    assert "EngineFailed: the model is gone" in shown["traceback"]
    assert "a secret" not in json.dumps(shown)
    group = json.loads(line(JsonFormatter(), error=raised(ExceptionGroup("a secret", [ValueError("too")]))))
    assert group["error"] == "ExceptionGroup of ValueError"


def test_a_line_is_one_line_and_a_long_field_is_cut() -> None:
    written = line(TextFormatter(), "one\ntwo", who="me\nyou", data="x" * 5000)
    assert "\n" not in written and len(written) < 700
    assert written.endswith("...") and 'who="me\\nyou"' in written
    assert "\n" not in line(JsonFormatter(), "one\ntwo", data=object())


@given(st.text())
def test_what_a_client_chose_moves_no_cursor_and_is_no_second_line(chosen: str) -> None:
    written = line(TextFormatter(), call=chosen)
    assert written.isprintable()
    shown = written.partition(" call=")[2]
    assert shown == chosen or json.loads(shown) == chosen


def test_what_can_be_read_is_not_escaped() -> None:
    assert line(TextFormatter(), who="J\u00fcrgen", path="two words").endswith(' who=J\u00fcrgen path="two words"')
    assert line(TextFormatter(), who="J\u00fcrgen \u00d6").endswith(' who="J\u00fcrgen \u00d6"')
    assert line(TextFormatter(), call="\x1b[2Jaway\u2028\x85").endswith(' call="\\u001b[2Jaway\\u2028\\u0085"')


def test_ids_of_the_running_work_are_in_the_line() -> None:
    one, other = request_id.set("req-1"), session_id.set("sess_1")
    try:
        shown = json.loads(line(JsonFormatter()))
        assert (shown["request"], shown["session"]) == ("req-1", "sess_1")
        assert json.loads(line(JsonFormatter(), session="sess_2"))["session"] == "sess_2"
    finally:
        request_id.reset(one)
        session_id.reset(other)


def test_libraries_are_let_through_from_warning_on(restored: None) -> None:
    out = io.StringIO()
    configure("text", "debug", out)
    logging.getLogger("websockets").debug("< TEXT what was said")
    logging.getLogger("websockets").warning("a warning")
    logging.getLogger("antiphon.x").debug("ours")
    set_level("error")
    logging.getLogger("antiphon.x").warning("no longer")
    assert [one.split(": ")[1] for one in out.getvalue().splitlines()] == ["a warning", "ours"]
