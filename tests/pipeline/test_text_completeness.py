"""Text cues: a table of ends, properties over any text, and precision on labelled prefixes of spoken sentences."""

from __future__ import annotations

import csv
import os
import string
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spoken_prefixes import DEV, FIRST_HELD_OUT, HELD_OUT, labelled

from antiphon.pipeline.text.completeness import REASONS, Cue, judge

CLIPS = Path(os.environ.get("ANTIPHON_CLIPS") or Path(__file__).parents[2].parent / "shared" / "audio")

_WHY = [
    # how a turn ends
    ("I'd like a coffee and", "trailing_conjunction"),
    ("I'm calling because", "trailing_conjunction"),
    ("I think that", "trailing_conjunction"),
    ("it's more than", "trailing_conjunction"),
    ("I would like to book a flight from", "trailing_preposition"),
    ("I have a question about", "trailing_preposition"),
    ("who is the president of", "trailing_preposition"),
    ("what's the weather like in", "trailing_preposition"),
    ("what do you want to", "trailing_preposition"),
    ("turn on", "trailing_preposition"),
    ("put it on the", "trailing_determiner"),
    ("tell my", "trailing_determiner"),
    ("he was", "trailing_auxiliary"),
    ("it is", "trailing_auxiliary"),
    ("I would", "trailing_auxiliary"),
    ("my name is", "trailing_auxiliary"),
    ("the thing is", "trailing_auxiliary"),
    ("what I mean is", "trailing_auxiliary"),
    ("no that's", "trailing_contraction"),
    ("tomorrow I'll", "trailing_contraction"),
    ("and then we", "trailing_subject"),
    ("what do you", "trailing_subject"),
    ("I'd like", "trailing_verb"),
    ("I want", "trailing_verb"),
    ("can you tell me", "trailing_verb"),
    ("remind me", "trailing_verb"),
    ("I was wondering", "trailing_verb"),
    ("have you ever", "trailing_adverb"),
    ("it is very", "trailing_adverb"),
    ("I bought a new", "trailing_adjective"),
    ("play some um", "filler"),
    ("it was, like,", "filler"),
    ("well", "filler"),
    ("okay let me see", "filler"),
    # numbers and addresses
    ("three point", "unfinished_number"),
    ("at half past", "unfinished_number"),
    ("on March the twenty", "unfinished_number"),
    ("he was born in nineteen", "unfinished_number"),
    ("set a timer for ten", "unfinished_number"),
    ("my number is five five five", "unfinished_number"),
    ("my phone number is 555-12", "unfinished_number"),
    ("you can reach me at double five", "unfinished_number"),
    ("my phone number is 555 123 4567", "whole_number"),
    ("my email is john at gmail", "unfinished_address"),
    ("it is spelled b r", "spelling"),
    # how it is built
    ("first of all", "introduction"),
    ("in my opinion", "introduction"),
    ("And so, my fellow Americans", "introduction"),
    ("when I get home", "subordinate_clause"),
    ("if it rains tomorrow", "subordinate_clause"),
    ("because I like it", "ambiguous_clause"),
    ("I'm calling because my internet", "unfinished_clause"),
    ("eggs, milk, flour", "enumeration"),
    ("why is the sky", "unfinished_question"),
    ("where can I buy", "trailing_verb"),
    ("when does the train", "unfinished_question"),
    ("set the temperature", "unfinished_command"),
    ("the red car", "fragment"),
    ("I was there", "sentence"),
    ("is there", "trailing_subject"),
    ("why won't it", "trailing_subject"),
    ("turn the heating", "unfinished_command"),
    ("are these shoes", "unfinished_question"),
    ("what's the fastest way", "ambiguous_clause"),
    ("the total comes to forty three", "number"),
    ("what happens if I miss", "trailing_verb"),
    ("tell me where the station is", "sentence"),
    ("as soon as he arrives", "subordinate_clause"),
    ("my address is forty two", "unfinished_number"),
    # marks
    ("I was there,", "trailing_comma"),
    ("I need three things:", "trailing_colon"),
    ("I was there-", "trailing_dash"),
    ("it works...", "ellipsis"),
    ('he said "go home', "open_quote"),
    ("the second one (the blue one", "open_quote"),
    ("you came?", "question_mark"),
    ("", "empty"),
    ("...", "empty"),
    # whole
    ("what time is it", "question"),
    ("how old is the Brooklyn Bridge", "question"),
    ("can you help me", "question"),
    ("what's the weather like", "question"),
    ("what do you think", "question"),
    ("what does that mean", "question"),
    ("who are you talking to", "question"),
    ("what is it for", "question"),
    ("where are you from", "question"),
    ("it's nice isn't it", "question"),
    ("turn on the lamp", "command"),
    ("turn it on", "command"),
    ("play some jazz please", "command"),
    ("set the temperature to twenty degrees", "command"),
    ("if it rains tomorrow, cancel the picnic", "command"),
    ("he was not an ill-disposed young man", "sentence"),
    ("the child almost hurt the small dog", "sentence"),
    ("tell me who she is", "sentence"),
    ("I live in Paris I think", "sentence"),
    ("yes it is", "set_phrase"),
    ("okay thank you", "set_phrase"),
    ("I don't know", "set_phrase"),
    ("half an hour", "short_answer"),
    ("two people", "short_answer"),
    ("eggs milk and bread", "short_answer"),
    ("Hello. I'd like a coffee with", "trailing_preposition"),
]


@pytest.mark.parametrize(("text", "why"), _WHY)
def test_why(text: str, why: str) -> None:
    assert judge(text, "en") == Cue(REASONS[why], why)


@pytest.mark.parametrize(
    ("language", "text", "why"),
    [
        ("de", "Ich möchte einen Kaffee und", "trailing_conjunction"),
        ("de", "Ich fahre nach Berlin mit der", "trailing_determiner"),
        ("de-AT", "Ähm.", "filler"),
        ("de", "Mach das Licht an", "no_cue"),
        ("de", "Ja, bitte!", "set_phrase"),
        ("fr", "Je voudrais parler à", "trailing_preposition"),
        ("fr", "C’est l’", "trailing_determiner"),
        ("fr", "Quelle heure est-il ?", "question_mark"),
        ("es", "Quiero una mesa para", "trailing_preposition"),
        ("es", "¿Por qué?", "question_mark"),
        ("it", "Vorrei un caffè e", "trailing_conjunction"),
        ("nl", "Ik wil een kamer voor", "trailing_preposition"),
        ("nl", "Waar wacht je voor?", "question_mark"),
        ("pt", "Quero falar com o", "trailing_determiner"),
        ("pt", "Obrigado.", "set_phrase"),
        ("ja", "東京、", "trailing_comma"),
        ("ja", "元気ですか？", "question_mark"),
        (None, "I would like and", "no_cue"),
        (None, "I would like,", "trailing_comma"),
    ],
)
def test_other_languages_and_none(language: str | None, text: str, why: str) -> None:
    assert judge(text, language).why == why


def test_an_open_word_beats_an_invented_question_mark() -> None:
    assert judge("What's the weather like in?", "en").kind == "open"


def test_only_the_end_of_a_long_turn_is_looked_at() -> None:
    assert judge("(we talked " + "and talked " * 200 + "about it. Turn on the lamp", "en") == Cue("complete", "command")


# ------------------------------------------------------------------------ properties

_LANGUAGES = st.sampled_from(["en", "en-GB", "de", "es", "fr", "it", "nl", "pt", "ja", "", None])
_VOCABULARY = sorted({word for sentence in DEV for word in sentence.replace("/", " ").split()})
_sentences = st.lists(st.sampled_from(_VOCABULARY), min_size=1, max_size=12).map(" ".join)
_english = st.one_of(_sentences, st.text(string.ascii_letters + string.digits + " .,?!'-\"()", max_size=80))


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(max_size=80), st.text(max_size=3).map(lambda text: text * 400), _english), _LANGUAGES)
def test_any_text_gives_a_known_cue(text: str, language: str | None) -> None:
    cue = judge(text, language)
    assert REASONS[cue.why] == cue.kind


@settings(max_examples=400, deadline=None)
@given(_english, st.sampled_from(["and", "um", "the", "And.", "Um", "the..."]))
def test_an_open_word_more_makes_any_text_open(text: str, word: str) -> None:
    assert judge(f"{text} {word}", "en").kind == "open"


@settings(max_examples=400, deadline=None)
@given(_sentences)
def test_case_and_a_final_full_stop_do_not_matter(text: str) -> None:
    cue = judge(text, "en")
    assert judge(text + ".", "en") == judge(text.upper(), "en") == judge(text.title(), "en") == cue


@settings(max_examples=400, deadline=None)
@given(st.text(max_size=80), st.sampled_from([" ", "\n", "\t \u00a0"]), _LANGUAGES)
def test_white_space_does_not_matter(text: str, gap: str, language: str | None) -> None:
    spaced = gap + gap.join(text.split()) + gap
    assert judge(spaced, language) == judge(text, language)


# ------------------------------------------------------------------------ labelled prefixes


def _measure(sentences: list[str]) -> dict[str, float]:
    counts = Counter((label, judge(text, "en").kind) for text, label in labelled(sentences))
    rates = {}
    for kind, other in (("open", "complete"), ("complete", "open")):
        right, wrong = counts[kind, kind], counts[other, kind]
        rates[f"{kind} precision"] = right / (right + wrong)
        rates[f"{kind} recall"] = right / sum(count for (label, _), count in counts.items() if label == kind)
    return rates


@pytest.mark.parametrize(
    ("sentences", "floors"),
    [
        # Measured once each, before its mistakes were looked at:
        # open 0.953 (82 of 86), recall 0.882 (82 of 93); complete 0.954 (62 of 65), recall 0.861 (62 of 72).
        (
            FIRST_HELD_OUT,
            {"open precision": 0.94, "open recall": 0.86, "complete precision": 0.94, "complete recall": 0.84},
        ),
        # open 0.986 (71 of 72), recall 0.826 (71 of 86); complete 0.857 (60 of 70), recall 0.938 (60 of 64).
        (HELD_OUT, {"open precision": 0.97, "open recall": 0.8, "complete precision": 0.84, "complete recall": 0.92}),
    ],
    ids=["first", "second"],
)
def test_held_out_prefixes(sentences: list[str], floors: dict[str, float]) -> None:
    measured = _measure(sentences)
    assert {name: rate for name, rate in measured.items() if rate < floors[name]} == {}


def test_the_sets_share_no_sentence() -> None:
    every = [sentence for part in (DEV, FIRST_HELD_OUT, HELD_OUT) for sentence in part]
    assert len(every) == len(set(every))


@pytest.mark.clips
def test_whole_turns_of_the_human_clips_are_rarely_open() -> None:
    if not (CLIPS / "index.tsv").is_file():
        pytest.skip("needs the human clip set")
    with (CLIPS / "index.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    # A transcript that a person wrote down with a comma at its end is a part of a sentence, and open it is.
    said = [(row["transcript"], row["lang"]) for row in rows if row["transcript"] and row["transcript"][-1] != ","]
    kinds = Counter(judge(text, language).kind for text, language in said)
    assert kinds["open"] <= 1
    assert kinds["complete"] >= 0.7 * len(said)
