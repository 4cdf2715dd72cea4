"""From text to phoneme ids and back to words: with the real espeak-ng, without a network."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_piper import save_voice

from antiphon.engines.errors import EngineLoadFailed, EngineRequestInvalid, EngineUnavailable
from antiphon.engines.tts.piper_text import (
    MAX_PIECE_CHARS,
    MAX_UTTERANCE_PHONEMES,
    Phonemizer,
    Utterance,
    clean,
    has_words,
    next_piece,
)
from antiphon.engines.tts.piper_voice import VoiceConfig, read_voice_config
from antiphon.engines.tts.piper_words import align


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> VoiceConfig:
    return read_voice_config(f"{save_voice(tmp_path_factory.mktemp('voice'))}.json", name="tiny")


@pytest.fixture(scope="module")
def phonemizer(voice: VoiceConfig) -> Phonemizer:
    return Phonemizer(voice)


def utterances(phonemizer: Phonemizer, text: str, espeak_voice: str = "en-us") -> list[Utterance]:
    prepared = clean(text, espeak_voice)
    found: list[Utterance] = []
    position = 0
    while piece := next_piece(prepared, position):
        found.extend(phonemizer.utterances(prepared, *piece))
        position = piece[1]
    return found


def spoken(phonemizer: Phonemizer, voice: VoiceConfig, text: str) -> list[tuple[str, str]]:
    """(word, its phonemes) of a text"""
    names = {ids[0]: symbol for symbol, ids in voice.id_map.items()}
    return [
        (text[word.char_start : word.char_end], "".join(names[i] for i in one.ids[word.id_start : word.id_end] if i))
        for one in utterances(phonemizer, text)
        for word in one.words
    ]


def test_each_word_has_its_phonemes(phonemizer: Phonemizer, voice: VoiceConfig) -> None:
    assert spoken(phonemizer, voice, "Sure, I can help.") == [
        ("Sure,", "ʃˈʊɹ"),
        ("I", "aɪ"),
        ("can", "kæn"),
        ("help.", "hˈɛlp"),
    ]


def test_a_number_is_one_word_however_many_are_spoken(phonemizer: Phonemizer, voice: VoiceConfig) -> None:
    found = dict(spoken(phonemizer, voice, "It costs $1,200.50 now."))
    assert list(found) == ["It", "costs", "$1,200.50", "now."]
    assert found["$1,200.50"].startswith("dˈɑːlɚ wˈʌn θˈaʊzənd") and found["$1,200.50"].endswith("zˈiəɹoʊ")
    assert found["now."] == "nˈaʊ"


def test_words_that_espeak_runs_together_are_told_apart(phonemizer: Phonemizer, voice: VoiceConfig) -> None:
    found = spoken(phonemizer, voice, "to the end of the day")
    assert [word for word, _ in found] == ["to", "the", "end", "of", "the", "day"]
    assert found[3:] == [("of", "ʌv"), ("the", "ðə"), ("day", "dˈeɪ")]


def test_a_title_does_not_end_the_sentence(phonemizer: Phonemizer) -> None:
    assert len(utterances(phonemizer, "Dr. Smith met Mrs. Jones.")) == 1
    assert len(utterances(phonemizer, "I met a doctor. Smith came.")) == 2


def test_sentences_lines_and_brackets(phonemizer: Phonemizer) -> None:
    text = 'One (or two).  "Three!" Four?\nFive, 3.5 and e.g. six… Seven'
    found = utterances(phonemizer, text)
    assert [text[one.char_start : one.char_end].strip() for one in found] == [
        "One (or two).",
        '"Three!"',
        "Four?",
        "Five, 3.5 and e.g. six…",
        "Seven",
    ]


@pytest.mark.parametrize("text", ["", " ", "...", "?!", "—", "\n\n", "( )", "\x00", "\u200b", "\ud800", ", , ,", "“”"])
def test_nothing_to_say(phonemizer: Phonemizer, text: str) -> None:
    assert not has_words(text, 0)
    assert utterances(phonemizer, text) == []


def test_other_scripts_are_spelled_somehow(phonemizer: Phonemizer) -> None:
    text = "hello 👋 你好 مرحبا नमस्ते"
    words = [text[w.char_start : w.char_end] for one in utterances(phonemizer, text) for w in one.words]
    assert words[:4] == ["hello", "👋", "你", "好"]


@pytest.mark.parametrize("text", ["x" * 3000, "9" * 900, "word " * 1000, "a,b;" * 700, "1234567890 " * 60])
def test_long_text_without_sentences_comes_in_bounded_parts(phonemizer: Phonemizer, text: str) -> None:
    found = utterances(phonemizer, text)
    assert max(len(one.ids) for one in found) <= 2 * MAX_UTTERANCE_PHONEMES + 3
    assert max(one.char_end - one.char_start for one in found) <= MAX_PIECE_CHARS
    assert found[0].char_start == 0


TEXTS = st.text(st.one_of(st.sampled_from("ab I.,!? \n1'\"-—éß你。👋$%()[]"), st.characters()), max_size=300)


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_any_text_is_covered_in_order(phonemizer: Phonemizer, text: str) -> None:
    assert len(clean(text, "en-us")) == len(text)
    position = end_of_words = 0
    for one in utterances(phonemizer, text):
        assert position <= one.char_start <= one.char_end <= len(text)
        position = one.char_end
        assert one.words
        ids = 2
        for word in one.words:
            assert end_of_words <= word.char_end and word.char_start < word.char_end
            assert ids <= word.id_start < word.id_end < len(one.ids)
            ids, end_of_words = word.id_end, word.char_start


PHONEMES = st.lists(st.lists(st.sampled_from("aeptk ,ˈː"), max_size=12), max_size=5)


@settings(max_examples=200, deadline=None)
@given(PHONEMES, PHONEMES)
def test_alignment_never_goes_back(sentences: list[list[str]], words: list[list[str]]) -> None:
    owners = align(sentences, words)
    assert [len(row) for row in owners] == [len(row) for row in sentences]
    named = [owner for row in owners for owner in row if owner is not None]
    assert named == sorted(named)
    assert all(0 <= owner < len(words) for owner in named)
    for row, sentence in zip(owners, sentences, strict=True):
        assert all(owner is None for owner, symbol in zip(row, sentence, strict=True) if symbol in " ,")


def test_vowel_clusters_are_one_phoneme(tmp_path: Path, voice: VoiceConfig) -> None:
    import dataclasses

    clustered = dataclasses.replace(voice, vowel_clusters=(("a", "ɪ"),))
    [plain], [merged] = utterances(Phonemizer(voice), "my"), utterances(Phonemizer(clustered), "my")
    assert voice.id_map["aɪ"][0] in merged.ids and voice.id_map["aɪ"][0] not in plain.ids
    assert len(merged.ids) == len(plain.ids) - 2


def test_a_voice_of_characters_needs_no_espeak(tmp_path: Path) -> None:
    voice = read_voice_config(f"{save_voice(tmp_path, kind='text')}.json", name="tiny")
    [one] = utterances(Phonemizer(voice), "ab c")
    pad = voice.id_map["_"]
    assert one.ids == (
        *voice.id_map["^"], *pad, *voice.id_map["a"], *pad, *voice.id_map["b"], *pad, *voice.id_map[" "], *pad,
        *voice.id_map["c"], *pad, *voice.id_map["$"],
    )  # fmt: skip
    assert [(word.text, word.id_start, word.id_end) for word in one.words] == [("ab", 2, 6), ("c", 8, 10)]


def test_a_language_that_espeak_does_not_know(tmp_path: Path) -> None:
    voice = read_voice_config(f"{save_voice(tmp_path, language='xx-nope')}.json", name="tiny")
    with pytest.raises(EngineLoadFailed, match="espeak-ng has no voice 'xx-nope'"):
        Phonemizer(voice)


class TestDescription:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(EngineUnavailable, match="has no description"):
            read_voice_config(tmp_path / "a.onnx.json", name="a")

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            ("{", "not readable as JSON"),
            ("[]", "not a JSON object"),
            ("{}", "lacks the key 'espeak'"),
            ('{"phoneme_type": "pinyin"}', "phoneme_type is 'pinyin'"),
            ('{"phoneme_type": "text", "phoneme_id_map": {"_": [0], "^": [1]}}', "has no '\\$'"),
            ('{"phoneme_type": "text", "phoneme_id_map": {"_": "0"}}', "not a list of ids"),
            (
                '{"phoneme_type": "text", "phoneme_id_map": {"_": [0], "^": [1], "$": [2]},'
                ' "audio": {"sample_rate": 0}}',
                "audio.sample_rate is 0",
            ),
            ('{"espeak": {"voice": "en"}, "phoneme_id_map": 5}', "has a wrong value"),
        ],
    )
    def test_damaged(self, tmp_path: Path, content: str, problem: str) -> None:
        path = tmp_path / "a.onnx.json"
        path.write_text(content)
        with pytest.raises(EngineLoadFailed, match=problem):
            read_voice_config(path, name="a")

    def test_speakers(self, tmp_path: Path, voice: VoiceConfig) -> None:
        several = read_voice_config(f"{save_voice(tmp_path, speakers=2)}.json", name="pair")
        assert [several.speaker_id(who) for who in (None, "boris", "1", 0)] == [0, 1, 1, 0]
        assert [voice.speaker_id(who) for who in (None, 0, "0")] == [None] * 3
        with pytest.raises(EngineRequestInvalid, match="its speakers are: anna, boris"):
            several.speaker_id("carla")
        with pytest.raises(EngineRequestInvalid, match="one speaker only"):
            voice.speaker_id(3)
