"""What speech into a reply means: pure rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.pipeline.interruption import BACKCHANNELS, Interruption, InterruptionSettings, Verdict


def heard(audible: bool = True, **settings: object) -> Interruption:
    return Interruption(InterruptionSettings(**settings), 2, 1.0, audible)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["Uh-huh.", "uh huh", "Yeah, okay.", "I see!", "Mm-hmm, right.", "Mhm"])
def test_backchannels_let_the_reply_go_on(text: str) -> None:
    assert heard().on_words(text) is Verdict.GO_ON


@pytest.mark.parametrize("text", ["", "  ", "..."])
def test_nothing_said_lets_the_reply_go_on(text: str) -> None:
    assert heard().on_words(text) is Verdict.GO_ON


@pytest.mark.parametrize("text", ["Stop.", "No, wait.", "Yeah, but what about Monday?", "Okay stop", "Seeing is right"])
def test_words_stop_the_reply(text: str) -> None:
    assert heard().on_words(text) is Verdict.STOP


def test_long_speech_stops_whatever_it_is() -> None:
    assert heard().on_speech(599, "") is Verdict.WAIT
    assert heard().on_speech(600, "") is Verdict.STOP


def test_how_long_the_user_has_spoken_without_the_silences() -> None:
    attempt = heard()  # since 1.0 s
    assert attempt.hear(1.0, 1.1) == pytest.approx(100)
    assert attempt.hear(1.0, 1.3) == pytest.approx(300)
    assert attempt.hear(1.8, 1.9) == pytest.approx(400)
    assert attempt.hear(1.8, 2.0) == pytest.approx(500)
    assert attempt.hear(2.4, 2.5) == pytest.approx(600)
    assert heard().hear(0.7, 1.2) == pytest.approx(200), "what was before it is another turn's"


def test_speech_that_is_sure_stops_sooner_where_that_is_asked_for() -> None:
    assert heard().on_speech(500, "", sure_ms=500) is Verdict.WAIT, "it makes no difference by itself"
    early = heard(sure_speech_ms=160)
    assert early.on_speech(250, "", sure_ms=159) is Verdict.WAIT
    assert early.on_speech(250, "", sure_ms=160) is Verdict.STOP
    assert early.on_speech(600, "", sure_ms=0) is Verdict.STOP
    assert heard(sure_speech_ms=160, min_words=2).on_speech(900, "stop", sure_ms=900) is Verdict.WAIT
    assert heard(audible=False, sure_speech_ms=160).on_speech(250, "", sure_ms=250) is Verdict.WAIT, "nothing plays yet"


def test_where_words_are_asked_for_sound_alone_stops_nothing() -> None:
    two = heard(min_words=2)
    assert two.on_speech(5000, "") is Verdict.WAIT
    assert two.on_speech(5000, "no wait") is Verdict.STOP
    assert two.on_words("Stop.") is Verdict.GO_ON
    assert two.on_words("No, wait.") is Verdict.STOP


def test_a_reply_that_nobody_heard_yet_has_a_threshold_of_its_own() -> None:
    thinking = heard(audible=False, thinking_min_speech_ms=200)
    assert thinking.on_speech(199, "") is Verdict.WAIT
    assert thinking.on_speech(200, "") is Verdict.STOP


def test_the_list_of_backchannels_is_the_users() -> None:
    german = heard(backchannels=("ja", "genau", "ach so"))
    assert german.on_words("Ja, ach so.") is Verdict.GO_ON
    assert german.on_words("Yeah.") is Verdict.STOP
    assert heard(backchannels=()).on_words("Uh-huh.") is Verdict.STOP
    assert heard(backchannels=("", "-")).on_words("Yes") is Verdict.STOP, "an empty one matches nothing"


@given(st.lists(st.sampled_from(BACKCHANNELS), min_size=1, max_size=6), st.sampled_from([", ", " ", "... ", "! "]))
def test_any_row_of_backchannels_is_one(words: list[str], between: str) -> None:
    assert heard().is_backchannel(between.join(words).upper() + ".")


@given(st.text(max_size=40), st.booleans(), st.integers(1, 4))
def test_a_final_text_is_always_decided(text: str, audible: bool, min_words: int) -> None:
    assert heard(audible, min_words=min_words).on_words(text) is not Verdict.WAIT
