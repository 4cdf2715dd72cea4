"""What peers tell, in Antiphon's events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from antiphon.benchmarks.peers.story import Story
from antiphon.benchmarks.subject import Listener
from antiphon.pipeline.events import Committed, ErrorEvent, Event, SpeechStarted, TranscriptEvent, TurnEnded


def told(script: Callable[[Story], None]) -> list[Event]:
    async def run() -> list[Event]:
        listener = Listener()
        script(Story(listener))
        return listener.events

    return asyncio.run(run())


def names(story: Story, *events: str) -> None:
    for event in events:
        name, _, text = event.partition(":")
        story.tell(name, text)


def of(events: list[Event], kind: type[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


def test_one_turn_has_one_number_and_all_its_times() -> None:
    events = told(
        lambda story: names(
            story,
            "vad_stop",
            "heard: hello ",
            "commit",
            "first_token",
            "first_audio",
            "reply:Hi.",
            "reply:You?",
            "done",
        )
    )
    heard, committed, ended = events
    assert isinstance(heard, TranscriptEvent) and heard.text == "hello" and heard.final and heard.turn == 1
    assert isinstance(committed, Committed) and committed.turn == 1 and committed.reason == "peer"
    assert isinstance(ended, TurnEnded) and ended.turn == 1 and ended.status == "completed" and ended.text == "Hi. You?"
    times = ended.timings
    steps = (times.vad_stop_s, times.stt_s, times.commit_s, times.first_token_s, times.first_audio_s)
    assert None not in steps and list(steps) == sorted(steps)  # type: ignore[type-var]


def test_pieces_before_the_commit_are_one_transcript_that_grows() -> None:
    heard = of(told(lambda story: names(story, "heard:turn on", "heard:the lamp", "commit")), TranscriptEvent)
    assert [(event.turn, event.text) for event in heard] == [(1, "turn on"), (1, "turn on the lamp")]  # type: ignore[attr-defined]


def test_a_transcript_after_the_commit_is_the_committed_turns_until_the_answer_begins() -> None:
    heard = of(told(lambda story: names(story, "commit", "heard:one", "first_token", "heard:two")), TranscriptEvent)
    assert [(event.turn, event.text) for event in heard] == [(1, "one"), (2, "two")]  # type: ignore[attr-defined]


def test_a_second_commit_ends_the_first_turn_and_keeps_what_was_told_since() -> None:
    events = told(
        lambda story: names(story, "heard:a", "commit", "first_token", "vad_stop", "heard:b", "commit", "done")
    )
    first, second = of(events, TurnEnded)
    assert (first.turn, first.status) == (1, "interrupted")  # type: ignore[attr-defined]
    assert (second.turn, second.status) == (2, "completed")  # type: ignore[attr-defined]
    times = second.timings  # type: ignore[attr-defined]
    assert times.vad_stop_s and times.stt_s and times.vad_stop_s <= times.stt_s <= times.commit_s
    assert times.first_token_s is None, "the first turn's token is not the second's"


def test_an_answer_begun_before_the_commit_keeps_its_time() -> None:
    events = told(lambda story: names(story, "heard:a", "first_token", "commit", "first_audio", "done"))
    times = of(events, TurnEnded)[0].timings  # type: ignore[attr-defined]
    assert times.first_token_s <= times.commit_s <= times.first_audio_s


def test_an_error_fails_the_turn_and_only_that_one() -> None:
    def script(story: Story) -> None:
        names(story, "commit")
        story.fail("the LLM is away")
        names(story, "done", "commit", "done")

    events = told(script)
    assert [event.status for event in of(events, TurnEnded)] == ["failed", "completed"]  # type: ignore[attr-defined]
    assert [event.message for event in of(events, ErrorEvent)] == ["the LLM is away"]  # type: ignore[attr-defined]


def test_an_end_without_a_turn_or_of_another_turn_is_nothing() -> None:
    def script(story: Story) -> None:
        story.tell("done")
        story.tell("commit")
        story.end("interrupted", turn=7)

    assert of(told(script), TurnEnded) == []


def test_speech_is_told_on_the_stream_clock() -> None:
    (event,) = told(lambda story: story.started(1.25, 1.5))
    assert isinstance(event, SpeechStarted) and (event.at_s, event.audio_s, event.turn) == (1.25, 1.5, 1)


def test_deltas_keep_their_spaces() -> None:
    def script(story: Story) -> None:
        story.tell("commit")
        for delta in ("It", " is", " noon", "."):
            story.say(delta)
        story.tell("done")

    assert of(told(script), TurnEnded)[0].text == "It is noon."  # type: ignore[attr-defined]
