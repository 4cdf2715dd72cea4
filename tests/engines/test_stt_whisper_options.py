"""The engine without its model: options, capabilities, and errors that need no loading."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import cast

import numpy as np
import pytest
from pydantic import ValidationError

from antiphon.engines.audio import AudioFrame
from antiphon.engines.errors import EngineFailed, EngineRequestInvalid, ModelMissing
from antiphon.engines.host import EngineHost
from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import STTOptions, Word
from antiphon.engines.registry import EngineContext, find
from antiphon.engines.stt.faster_whisper import (
    FasterWhisper,
    FasterWhisperOptions,
    _language,
    _safe_prefix,
    create,
)
from antiphon.engines.stt.whisper_values import ModelFacts, Piece, merge


class NoModels:
    """A store that has nothing."""

    def resolve(self, reference: str) -> None:
        raise ModelMissing(f"'{reference}' is not in the store", model=reference, hint="antiphon models pull")


def engine(**options: object) -> FasterWhisper:
    context = EngineContext(EngineHost(), cast(ModelStore, NoModels()))
    return create(FasterWhisperOptions.model_validate(options), context)


def test_the_registry_knows_it() -> None:
    spec = find("stt", "faster_whisper")
    assert spec.options_class() is FasterWhisperOptions
    assert isinstance(
        spec.create(FasterWhisperOptions(), EngineContext(EngineHost(), cast(ModelStore, NoModels()))), FasterWhisper
    )


def test_importing_it_needs_no_engine_package() -> None:
    code = (
        "import sys\n"
        "for name in ('ctranslate2', 'faster_whisper', 'tokenizers', 'av'): sys.modules[name] = None\n"
        "import antiphon.engines.stt.faster_whisper"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


@pytest.mark.parametrize(
    "options",
    [
        {"compute_type": "int4"},
        {"device": "tpu"},
        {"threads": 0},
        {"window_floor_s": 31.0},
        {"window_margin_s": -1.0},
        {"max_tokens": 0},
        {"no_speech_threshold": 1.5},
        {"logprob_threshold": 0.5},
        {"compression_ratio_threshold": 0.5},
        {"model": ""},
        {"beam": 5},
    ],
)
def test_wrong_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FasterWhisperOptions.model_validate(options)


def test_every_option_says_what_it_means() -> None:
    for name, option in FasterWhisperOptions.model_fields.items():
        assert option.description and option.description.endswith("."), name


def test_capabilities_before_loading_follow_the_name() -> None:
    assert engine(model="whisper-tiny.en").capabilities.languages == ("en",)
    assert engine(model="whisper-base").capabilities.languages is None
    assert engine().capabilities.local
    assert engine().rate_hz == 16_000


def test_a_missing_model_is_the_stores_error() -> None:
    async def enter() -> None:
        async with engine():
            pytest.fail("entered without a model")

    with pytest.raises(ModelMissing, match="is not in the store"):
        asyncio.run(enter())


def test_an_engine_that_is_not_entered_says_so() -> None:
    with pytest.raises(EngineFailed, match="not entered") as caught:
        asyncio.run(engine().transcribe(AudioFrame(np.zeros(16_000, np.float32), 16_000)))
    assert not caught.value.retryable


ENGLISH = ModelFacts(False, ("en",))
MANY = ModelFacts(True, ("de", "en", "fr"))


@pytest.mark.parametrize(
    ("wanted", "facts", "code"),
    [
        (None, ENGLISH, "en"),
        ("en-US", ENGLISH, "en"),
        (None, MANY, None),
        ("", MANY, None),
        ("DE", MANY, "de"),
        ("fr_CA", MANY, "fr"),
    ],
)
def test_language_codes(wanted: str | None, facts: ModelFacts, code: str | None) -> None:
    assert _language(wanted, facts, "m") == code


def test_an_english_model_refuses_german() -> None:
    with pytest.raises(EngineRequestInvalid, match=r"'m\.en' speaks English only, but language 'de'") as caught:
        _language("de", ENGLISH, "m.en")
    assert "multilingual" in caught.value.hint


def test_an_unknown_language_gets_the_nearest_one() -> None:
    with pytest.raises(EngineRequestInvalid, match="did you mean 'de'"):
        _language("deu", MANY, "m")


@pytest.mark.parametrize(
    ("agreed", "prefix"),
    [
        (None, ""),
        ("", ""),
        ("turn", ""),
        ("turn on the", "turn on"),
        ("I see. You are", "I see. You"),
        ("well, so", "well"),
        ("now... what", "now"),
    ],
)
def test_the_end_of_an_agreed_prefix_is_not_forced(agreed: str | None, prefix: str) -> None:
    assert _safe_prefix(agreed) == prefix


def test_nothing_merges_to_nothing() -> None:
    assert merge([]) == Piece()
    silent = merge([Piece(words=(), duration_s=1.0), Piece(words=(), duration_s=2.0)])
    assert (silent.text, silent.words, silent.no_speech, silent.duration_s) == ("", (), None, 3.0)


def test_pieces_merge_in_order_and_weighted() -> None:
    one, two = Word("one", 0.0, 0.5), Word("three.", 3.0, 3.5)
    pieces = [
        Piece("one", tokens=3, logprob=-0.1, no_speech=0.0, language="en", words=(one,), duration_s=1.0),
        Piece(rejected_text="you", tokens=1, logprob=-0.5, no_speech=0.8, language="cy", words=(), duration_s=1.0),
        Piece(duration_s=1.0),
        Piece("three.", tokens=2, logprob=-0.4, no_speech=0.2, language="en", words=(two,), duration_s=2.0),
    ]
    merged = merge(pieces)
    assert (merged.text, merged.rejected_text, merged.language) == ("one three.", "you", "en")
    assert merged.words == (one, two)
    assert merged.logprob == pytest.approx((-0.3 - 0.5 - 0.8) / 6)
    assert merged.no_speech == pytest.approx((0.8 + 0.4) / 4)
    assert merged.duration_s == 5.0


def test_default_request_options_ask_for_nothing() -> None:
    assert STTOptions() == STTOptions(None, None, None, None, False, None)
