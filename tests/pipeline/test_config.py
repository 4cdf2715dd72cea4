"""A configuration from text to a validated Config, and every way in which it can be wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from toy_engines import ToyOptions

from antiphon.engines.errors import AntiphonError, UnknownEngine
from antiphon.engines.registry import find
from antiphon.pipeline.config import (
    Config,
    EngineBlock,
    InvalidConfig,
    Problem,
    engine_block,
    load_config,
    parse_config,
)
from antiphon.pipeline.errors import ConfigError

TOY = "toy_engines:Toy"
STAGES = {"vad": TOY, "turn": TOY, "stt": TOY, "llm": TOY, "tts": TOY}


def text(**stages: str) -> str:
    """A whole configuration: each stage on one line, `stt` on line 3."""
    return "".join(f"{stage}: {stages.get(stage, f'{{engine: {engine}}}')}\n" for stage, engine in STAGES.items())


def stt(options: str) -> str:
    return text(stt=f"{{engine: {TOY}, {options}}}")


def options_of(options: str, **environ: str) -> ToyOptions:
    config = parse_config(stt(options), environ=environ)
    loaded = config.stt[0].options
    assert isinstance(loaded, ToyOptions)
    return loaded


def problems_of(yaml: str, *overrides: str, **environ: str) -> tuple[Problem, ...]:
    with pytest.raises(InvalidConfig) as caught:
        parse_config(yaml, name="a.yaml", overrides=overrides, environ=environ)
    assert isinstance(caught.value, ConfigError)
    return caught.value.problems


def problem_of(yaml: str, *overrides: str, **environ: str) -> Problem:
    problems = problems_of(yaml, *overrides, **environ)
    assert len(problems) == 1, [str(problem) for problem in problems]
    return problems[0]


def wrong(options: str, **environ: str) -> str:
    """Key and message of the one problem of an option."""
    problem = problem_of(stt(options), **environ)
    assert problem.origin.line == 3
    return f"{problem.key}: {problem.message}"


# ------------------------------------------------------------------------------------- what comes out


def test_defaults() -> None:
    config = parse_config(text())
    assert config.session.offline
    assert (config.audio.input_hz, config.audio.output_hz) == (16000, 24000)
    assert config.session.max_turn_s == 60
    assert config.workflow.kind == "chat"
    assert config.speculation.enabled
    assert isinstance(config.vad, EngineBlock)
    assert [len(chain) for chain in (config.stt, config.llm, config.tts)] == [1, 1, 1]
    assert [block.stage for block in config.blocks()] == ["vad", "turn", "stt", "llm", "tts"]


def test_a_block_has_its_spec_and_its_validated_options() -> None:
    block = parse_config(stt("model: other, deadline_s: 2.5")).stt[0]
    assert (block.stage, block.engine, block.deadline_s, dict(block.voices)) == ("stt", TOY, 2.5, {})
    assert isinstance(block.options, ToyOptions)
    assert block.options.model == "other"
    assert block.spec == find("stt", TOY)


def test_a_config_does_not_change() -> None:
    config = parse_config(text())
    with pytest.raises(ValidationError):
        config.session.offline = False
    with pytest.raises(AttributeError):
        config.vad.engine = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.tts[0].voices["en"] = "x"  # type: ignore[index]


def test_a_repr_has_no_secret() -> None:
    assert "hunter2" not in repr(parse_config(stt("api_key: hunter2")))


def test_a_list_is_a_fallback_chain() -> None:
    config = parse_config(text(llm=f"[{{engine: {TOY}, deadline_s: 1}}, {{engine: 'toy_engines:Plain'}}]"))
    assert [(block.engine, block.deadline_s) for block in config.llm] == [(TOY, 1.0), ("toy_engines:Plain", None)]


def test_voices_by_language() -> None:
    config = parse_config(text(tts=f"{{engine: {TOY}, voices: {{en: joe, no: ./no.onnx}}}}"), directory=Path("/base"))
    assert dict(config.tts[0].voices) == {"en": "joe", "no": "/base/no.onnx"}


def test_an_engine_may_be_a_spec_by_dotted_path() -> None:
    assert parse_config(text(tts="{engine: 'toy_engines:MOUTH', size: 2}")).tts[0].engine == "mouth"


def test_a_config_can_be_made_in_code() -> None:
    made = {stage: engine_block(stage, TOY, {"size": 2}) for stage in STAGES}  # type: ignore[arg-type]
    config = Config(vad=made["vad"], turn=made["turn"], stt=(made["stt"],), llm=(made["llm"],), tts=(made["tts"],))
    assert config.stt[0].options == ToyOptions(size=2)
    assert engine_block("stt", TOY, ToyOptions(size=3), deadline_s=1.0).deadline_s == 1.0
    with pytest.raises(ValidationError):
        engine_block("stt", TOY, {"size": 99})
    with pytest.raises(UnknownEngine):
        engine_block("stt", "nothing")
    with pytest.raises(ValidationError):
        Config(vad=made["vad"], turn=made["turn"], stt=(), llm=(made["llm"],), tts=(made["tts"],))


# ------------------------------------------------------------------------------------ values and types


@pytest.mark.parametrize(
    ("written", "field", "value"),
    [
        ("language: no", "language", "no"),
        ("language: on", "language", "on"),
        ("language: true", "language", "true"),
        ("language: 1.10", "language", "1.10"),
        ("language: 0x10", "language", "0x10"),
        ("language: ", "language", None),
        ("language: ~", "language", None),
        ("language: 'null'", "language", "null"),
        ("language: .inf", "language", ".inf"),
        ("model: 12", "model", "12"),
        ("model: 10:30", "model", "10:30"),
        ("model: 2026-11-22", "model", "2026-11-22"),
        ("flag: yes", "flag", True),
        ("flag: off", "flag", False),
        ("flag: 'true'", "flag", True),
        ("flag: on", "flag", True),
        ("size: 5", "size", 5),
        ("size: '5'", "size", 5),
        ("size: 5.0", "size", 5),
        ("level: 1", "level", 1.0),
        ("level: 1e-1", "level", 0.1),
        ("level: '0.25'", "level", 0.25),
        ("threads: 4", "threads", 4),
        ("threads: '4'", "threads", 4),
        ("threads: auto", "threads", "auto"),
        ("words: {no: on, 1: 1.10, a: ~}", "words", {"no": "on", "1": "1.10"}),
        ("names: [no, 1.0, x]", "names", ("no", "1.0", "x")),
        ("sizes: [1, 2]", "sizes", [1, 2]),
        ("inner: {depth: 3}", "inner", None),
        ("inner: ~", "inner", None),
        ("colour: green", "colour", "green"),
    ],
)
def test_the_field_decides_what_a_scalar_means(written: str, field: str, value: object) -> None:
    if "a: ~" in written:
        assert wrong(written) == "stt.words.a: found ~; allowed: text"
        return
    loaded = getattr(options_of(written), field)
    if field == "inner":
        assert loaded.depth == (3 if "3" in written else 1)
        return
    assert loaded == value
    assert type(loaded) is type(value)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("size: 12", "stt.size: found 12; allowed: a whole number from 1 to 9 (ms)"),
        ("size: 1.5", "stt.size: found 1.5; allowed: a whole number from 1 to 9 (ms)"),
        ("size: true", "stt.size: found true; allowed: a whole number from 1 to 9 (ms)"),
        ("size: big", "stt.size: found 'big'; allowed: a whole number from 1 to 9 (ms)"),
        ("size: ", "stt.size: found nothing; allowed: a whole number from 1 to 9 (ms)"),
        ("size: [1]", "stt.size: found a list; allowed: a whole number from 1 to 9 (ms)"),
        ("size: {a: 1}", "stt.size: found a mapping; allowed: a whole number from 1 to 9 (ms)"),
        ("level: 0", "stt.level: found 0; allowed: a number, more than 0"),
        ("level: .nan", "stt.level: found .nan; allowed: a finite number"),
        ("level: nan", "stt.level: found 'nan'; allowed: a finite number"),
        ("level: -Infinity", "stt.level: found '-Infinity'; allowed: a finite number"),
        ("level: 1e999", "stt.level: found 1e999; allowed: a finite number"),
        (f"size: {'9' * 400}", f"stt.size: found {'9' * 60}...; allowed: a whole number from 1 to 9 (ms)"),
        ("colour: gren", "stt.colour: found 'gren'; allowed: one of red, green, blue; did you mean 'green'?"),
        ("colour: 5", "stt.colour: found 5; allowed: one of red, green, blue"),
        (
            "threads: atuo",
            "stt.threads: found 'atuo'; allowed: a whole number, at least 1 (threads), or auto; did you mean 'auto'?",
        ),
        ("threads: 0", "stt.threads: found 0; allowed: a whole number, at least 1 (threads), or auto"),
        ("threads: yes", "stt.threads: found 'yes'; allowed: a whole number, at least 1 (threads), or auto"),
        ("flag: maybe", "stt.flag: found 'maybe'; allowed: true or false"),
        ("flag: [true]", "stt.flag: found a list; allowed: true or false"),
        ("model: ''", "stt.model: found ''; allowed: text of at least 1 character"),
        ("model: ", "stt.model: found nothing; allowed: text of at least 1 character"),
        ("model: [a]", "stt.model: found a list; allowed: text of at least 1 character"),
        ("names: x", "stt.names: found 'x'; allowed: a list"),
        ("names: [a, [b]]", "stt.names.1: found a list; allowed: text"),
        ("names: [a, ~]", "stt.names.1: found ~; allowed: text"),
        ("sizes: [1, x]", "stt.sizes.1: found 'x'; allowed: a whole number"),
        ("words: [a]", "stt.words: found a list; allowed: a mapping"),
        ("words: {a: {b: c}}", "stt.words.a: found a mapping; allowed: text"),
        ("inner: {depht: 3}", "stt.inner.depht: unknown key; did you mean 'depth'?"),
        ("inner: {depth: x}", "stt.inner.depth: found 'x'; allowed: a whole number"),
        ("inner: 5", "stt.inner: found 5; allowed: a mapping"),
        ("language: much-too-long", "stt.language: found 'much-too-long': 'much-too-long' is no language code"),
        ("deadline_s: 0", "stt.deadline_s: found 0; allowed: a number, more than 0 (s), or null"),
        ("deadline_s: soon", "stt.deadline_s: found 'soon'; allowed: a number, more than 0 (s), or null"),
        ("modle: x", "stt.modle: unknown key; did you mean 'model'?"),
        ("Model: x", "stt.Model: unknown key; did you mean 'model'?"),
        ("voices: {en: x}", "stt.voices: unknown key"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(written: str, message: str) -> None:
    assert wrong(written) == message


def test_paths_count_from_the_file_they_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "base.yaml").write_text(
        stt("model: ./m.gguf, folder: data") + "models: {store: store, catalogs: [c.yaml]}\n"
    )
    (tmp_path / "c.yaml").write_text("models: {}\n")
    own = tmp_path / "sub" / "own.yaml"
    own.write_text("extends: ../base.yaml\nstt: {words: {a: ../x}}\nworkflow: {instructions: ./not a path}\n")
    monkeypatch.chdir("/")
    config = load_config(own, overrides=["stt.api_key=./k"])
    options = config.stt[0].options
    assert isinstance(options, ToyOptions)
    assert options.model == str(tmp_path / "m.gguf")
    assert options.folder == tmp_path / "data"
    assert options.words == {"a": str(tmp_path / "sub" / ".." / "x")}
    assert config.models.store == tmp_path / "store"
    assert config.models.catalogs == (tmp_path / "c.yaml",)
    assert config.workflow.instructions == "./not a path"
    assert options.api_key == "/k"


def test_a_model_may_be_a_path_beside_the_file_without_a_dot(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m.gguf").touch()
    for written, model in [
        ("models/m.gguf", str(tmp_path / "models" / "m.gguf")),
        ("models/none.gguf", "models/none.gguf"),
        ("models", "models"),
        ("hub:owner/name@1", "hub:owner/name@1"),
        ("x/" * 5000, "x/" * 5000),
    ]:
        config = parse_config(stt(f"model: '{written}', language: 'models/m'"), directory=tmp_path)
        assert config.stt[0].options.model_dump(include={"model", "language"}) == {
            "model": model,
            "language": "models/m",
        }


def test_home_and_absolute_paths_stay_what_they_are() -> None:
    options = options_of("model: ~/m, folder: /abs/x")
    assert options.model == os.path.expanduser("~/m")
    assert options.folder == Path("/abs/x")
    assert options_of("model: ~nobody_at_all").model == "~nobody_at_all"


# --------------------------------------------------------------------------------------------- problems


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    yaml = text(vad="{engine: silero, threshhold: 1}", stt=f"{{engine: {TOY}, size: 0, colour: pink}}", tts="{}")
    yaml += "sesion: 1\ngate: {start_ms: -1}\n"
    problems = problems_of(yaml)
    assert [(problem.origin.line, problem.key) for problem in problems] == [
        (1, "vad.threshhold"),
        (3, "stt.size"),
        (3, "stt.colour"),
        (5, "tts"),
        (6, "sesion"),
        (7, "gate.start_ms"),
    ]


def test_the_error_reads_well() -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse_config(stt("modle: x, size: 12"), name="a.yaml")
    lines = str(caught.value).splitlines()
    assert lines[0] == "2 problems:"
    assert lines[1] == "a.yaml:3: stt.modle: unknown key; did you mean 'model'?"
    assert lines[2].startswith("    Known here: api_key, ")
    assert lines[3] == "a.yaml:3: stt.size: found 12; allowed: a whole number from 1 to 9 (ms)"
    assert isinstance(caught.value, AntiphonError)
    assert (caught.value.file, caught.value.line, caught.value.key) == ("a.yaml", 3, "stt.modle")


def test_problems_of_a_base_name_the_base(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("\n\n" + stt("size: 12"))
    own = tmp_path / "own.yaml"
    own.write_text("extends: base.yaml\nstt: {colour: pink}\n")
    with pytest.raises(InvalidConfig) as caught:
        load_config(own)
    places = {problem.key: (Path(problem.origin.file).name, problem.origin.line) for problem in caught.value.problems}
    assert places == {"stt.size": ("base.yaml", 5), "stt.colour": ("own.yaml", 2)}


@pytest.mark.parametrize(
    ("stage", "block", "message"),
    [
        (
            "stt",
            "{engine: faster_wisper}",
            "stt.engine: found 'faster_wisper'; allowed: faster_whisper, none, openai, wyoming, "
            "or a path 'module:Class'; did you mean 'faster_whisper'?",
        ),
        (
            "stt",
            "{engine: piper}",
            "stt.engine: found 'piper'; allowed: faster_whisper, none, openai, wyoming, or a path 'module:Class'",
        ),
        ("stt", "{engine: }", "stt.engine: found nothing; allowed: faster_whisper, none, openai, wyoming"),
        ("stt", "{engine: [a]}", "stt.engine: found a list; allowed: faster_whisper, none, openai, wyoming"),
        ("stt", "{engine: ''}", "stt.engine: found ''; allowed: faster_whisper, none, openai, wyoming"),
        (
            "stt",
            "{engine: 'no_such_module:X'}",
            "stt.engine: 'no_such_module:X' cannot be imported: No module named 'no_such_module'",
        ),
        (
            "stt",
            "{engine: 'toy_engines:Tyo'}",
            "stt.engine: 'toy_engines:Tyo' cannot be imported: module 'toy_engines' has no 'Tyo'",
        ),
        (
            "stt",
            "{engine: ..x:Y}",
            "stt.engine: '..x:Y' cannot be imported: '..x:Y' is no dotted path: write package.module:Name",
        ),
        (
            "stt",
            "{engine: ':'}",
            "stt.engine: ':' cannot be imported: ':' is no dotted path: write package.module:Name",
        ),
        (
            "stt",
            "{engine: 'toy_engines:MOUTH'}",
            "stt.engine: 'toy_engines:MOUTH' is an engine for 'tts', not for 'stt'",
        ),
        (
            "stt",
            "{engine: 'toy_engines:BadOptions'}",
            "stt.engine: 'toy_engines:BadOptions.Options' must be a subclass of antiphon.engines.config.EngineOptions",
        ),
        ("stt", "{engine: 'toy_engines:Raising'}", "stt: Options cannot check these values: RuntimeError"),
        ("stt", "{engine: 'toy_engines:Needy'}", "stt.model: this key is missing; it takes text"),
        ("stt", "{engine: 'toy_engines:Plain', colour: x}", "stt.colour: unknown key"),
        ("stt", "{model: x}", "stt: this block names no engine"),
        ("stt", "faster_whisper", "stt: found 'faster_whisper'; allowed: a mapping with 'engine'"),
        ("stt", "[]", "stt: an empty list; a fallback chain has at least one block"),
        ("stt", "[x]", "stt.0: found 'x'; allowed: a mapping with 'engine'"),
        ("stt", "~", "stt: this stage is missing"),
        ("vad", "[{engine: silero}]", "vad: found a list; allowed: one block"),
        ("turn", "[{engine: silence}]", "turn: found a list; allowed: one block"),
        ("vad", "{engine: silero, mode: 3}", "vad.mode: unknown key (an option of 'webrtcvad')"),
        (
            "tts",
            f"{{engine: {TOY}, voices: {{EN_us: x}}}}",
            "tts.voices.EN_us: no valid key; a key has the form ^[a-z]{2,3}(-[A-Za-z0-9]+)*$",
        ),
        (
            "tts",
            f"{{engine: {TOY}, voices: {{en: ''}}}}",
            "tts.voices.en: found ''; allowed: text of at least 1 character",
        ),
        ("tts", f"{{engine: {TOY}, voices: joe}}", "tts.voices: found 'joe'; allowed: a mapping"),
    ],
)
def test_a_wrong_block_is_explained(stage: str, block: str, message: str) -> None:
    problem = problem_of(text(**{stage: block}))
    assert f"{problem.key}: {problem.message}" == message
    assert problem.origin.line == list(STAGES).index(stage) + 1


def test_a_block_that_is_only_a_name_is_told_how_to_be_one() -> None:
    assert problem_of(text(stt="faster_whisper")).hint == "Write 'stt: {engine: faster_whisper}'."


def test_a_missing_stage_is_named() -> None:
    problem = problem_of(text().replace(f"llm: {{engine: {TOY}}}\n", ""))
    assert (problem.key, problem.message) == ("llm", "this stage is missing")
    assert "extends: local.yaml" in problem.hint


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("sesion: {}", "sesion: unknown key; did you mean 'session'?"),
        ("extend: x", "extend: unknown key; did you mean 'extends'?"),
        ("session: {ofline: true}", "session.ofline: unknown key; did you mean 'offline'?"),
        ("session: 5", "session: found 5; allowed: a mapping"),
        ("session: [a]", "session: found a list; allowed: a mapping"),
        (
            "session: {max_turn_s: -1}",
            "session.max_turn_s: found -1; allowed: a number, more than 0 and at most 3600 (s)",
        ),
        ("audio: {input_hz: 4000}", "audio.input_hz: found 4000; allowed: a whole number from 8000 to 48000 (Hz)"),
        (
            "workflow: {kind: chta}",
            "workflow.kind: found 'chta': no workflow of that name (allowed: chat, agent, or a path 'module:Name'); "
            "did you mean 'chat'?",
        ),
        (
            "workflow: {kind: 'a b:c'}",
            "workflow.kind: found 'a b:c': no workflow of that name (allowed: chat, agent, or a path 'module:Name')",
        ),
        (
            "text: {speak_urls: domian}",
            "text.speak_urls: found 'domian'; allowed: one of domain, full, skip; did you mean 'domain'?",
        ),
        ("text: {lexicon: {'': x}}", "text.lexicon.: no valid key"),
        (
            "gate: {start_ms: 400}",
            "gate: start_window_ms (320) is shorter than start_ms (400): the gate could never open",
        ),
        ("speculation: maybe", "speculation: found 'maybe'; allowed: a mapping"),
    ],
)
def test_a_wrong_section_is_explained(section: str, message: str) -> None:
    problem = problem_of(text() + section + "\n")
    assert f"{problem.key}: {problem.message}" == message
    assert problem.origin.line == 6


def test_an_empty_section_is_its_defaults() -> None:
    assert parse_config(text() + "session:\ngate: ~\n") == parse_config(text())


@pytest.mark.parametrize("kind", ["my_agent:Workflow", "a.b.c:D", "a.b", "a:b.c"])
def test_a_workflow_by_dotted_path_is_not_imported_yet(kind: str) -> None:
    config = parse_config(text() + f"workflow: {{kind: '{kind}', options: {{a: 1, b: no, c: [x]}}}}\n")
    assert config.workflow.kind == kind
    assert config.workflow.options == {"a": 1, "b": "no", "c": ["x"]}


def test_a_rule_over_several_options_is_placed_at_the_block() -> None:
    problem = problem_of(stt("low: 5, high: 3"))
    assert (problem.key, problem.message) == ("stt", "low (5) is above high, and the key is None")


def test_a_problem_of_a_chain_has_its_number() -> None:
    problem = problem_of(text(llm=f"[{{engine: {TOY}}}, {{engine: {TOY}, size: 0}}]"))
    assert problem.key == "llm.1.size"


# ------------------------------------------------------------------------------------------ environment


def test_variables_fill_in_any_value() -> None:
    options = options_of("model: 'x-${M}', size: '${N:-4}', flag: '${F}'", M="y", F="yes")
    assert (options.model, options.size, options.flag) == ("x-y", 4, True)
    block = "\n  engine: ${E}\n  size: ${N}\n"
    assert parse_config(text(stt=block), environ={"E": TOY, "N": "7"}).stt[0].options == ToyOptions(size=7)


def test_a_missing_variable_is_the_only_problem_of_its_key() -> None:
    problem = problem_of(stt("size: '${NONE}', low: 1"))
    assert (problem.key, problem.message) == ("stt.size", "the environment variable NONE is not set")
    needy = problem_of(text(stt="{engine: 'toy_engines:Needy', model: '${NONE}'}"))
    assert needy.key == "stt.model"
    assert problem_of(text(stt="{engine: '${NONE}'}")).key == "stt.engine"
    assert problem_of(text(stt="'${NONE}'")).key == "stt"


def test_other_problems_are_still_found() -> None:
    problems = problems_of(stt("size: '${NONE}', colour: pink") + "gate: {start_ms: '${ALSO}'}\n")
    assert [problem.key for problem in problems] == ["stt.size", "stt.colour", "gate.start_ms"]


def test_a_variable_that_an_override_replaces_may_be_missing() -> None:
    assert parse_config(stt("size: '${NONE}'"), overrides=["stt.size=2"], environ={}).stt[0].options == ToyOptions(
        size=2
    )


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_TEST_SIZE", "8")
    assert parse_config(stt("size: '${ANTIPHON_TEST_SIZE}'")).stt[0].options == ToyOptions(size=8)


def test_the_value_of_a_variable_is_in_no_error() -> None:
    assert wrong("size: '${N}'", N="secret-value") == "stt.size: found '${N}'; allowed: a whole number from 1 to 9 (ms)"
    assert wrong("language: '${N}'", N="secret-value") == "stt.language: found '${N}': not a valid value"
    assert "secret_module" not in str(problem_of(text(stt="{engine: '${E}'}"), E="secret_module:X"))
    assert "secretname" not in str(problem_of(text(stt="{engine: '${E}'}"), E="secretname"))


def test_secrets_are_in_no_error() -> None:
    assert wrong("api_key: [hunter2]") == "stt.api_key: found a list; allowed: text or null"
    assert wrong("api_key: {hunter2: hunter2}") == "stt.api_key: found a mapping; allowed: text or null"
    assert wrong("pin: [hunter2]") == "stt.pin: found a list; allowed: text or null"
    problem = problem_of(stt("api_key: hunter2, low: 5, high: 3"))
    assert problem.message == "low (5) is above high, and the key is ***"
    problem = problem_of(stt("api_key: '${K}', low: 5, high: 3"), K="hunter2")
    assert "hunter2" not in str(problem)
    assert "hunter2" not in str(problem_of(stt("api_kye: hunter2")))


def test_a_secret_field_keeps_its_value() -> None:
    options = options_of("api_key: '${K}', pin: 0042", K="hunter2")
    assert options.api_key == "hunter2"
    assert options.pin == SecretStr("0042")


# -------------------------------------------------------------------------------------------- overrides


def test_overrides_are_validated_like_the_rest() -> None:
    problem = problem_of(text(), "stt.modle=x")
    assert str(problem).startswith("--set: stt.modle: unknown key; did you mean 'model'?")
    assert problem_of(text(), "stt.size=12").message == "found 12; allowed: a whole number from 1 to 9 (ms)"
    assert problem_of(text(), "sst.size=12").key == "sst"
    assert problem_of(text(), "stt.engine=nothing").origin.file == "--set"


def test_overrides_change_values_blocks_and_chains() -> None:
    config = parse_config(
        stt("size: 2"), overrides=["stt.colour=green", "session.max_turn_s=5", "tts.engine=toy_engines:Plain"]
    )
    assert config.stt[0].options == ToyOptions(size=2, colour="green")
    assert config.session.max_turn_s == 5
    assert config.tts[0].engine == "toy_engines:Plain"
    chain = parse_config(text(), overrides=[f"stt=[{{engine: '{TOY}'}}, {{engine: '{TOY}', size: 2}}]", "stt.1.size=3"])
    assert [block.options for block in chain.stt] == [ToyOptions(), ToyOptions(size=3)]


# ---------------------------------------------------------------------------------------------- offline


REMOTE = "{engine: 'toy_engines:REMOTE'}"


def test_offline_refuses_engines_elsewhere() -> None:
    problem = problem_of(text(llm=REMOTE))
    assert (problem.key, problem.origin.line) == ("llm.engine", 4)
    assert problem.message == "'remote' would leave this machine, which 'session.offline: true' forbids"
    assert "offline: false" in problem.hint
    chained = problem_of(text(llm=f"[{{engine: {TOY}}}, {REMOTE}]"))
    assert chained.key == "llm.1.engine"
    assert parse_config(text(llm=REMOTE) + "session: {offline: false}\n").llm[0].engine == "remote"


@pytest.mark.parametrize("url", ["http://localhost:8000/v1", "http://127.0.0.1/v1", "http://[::1]:1/v1"])
def test_offline_allows_servers_on_this_machine(url: str) -> None:
    assert parse_config(text(llm=f"{{engine: 'toy_engines:REMOTE', base_url: '{url}'}}")).llm[0].engine == "remote"


@pytest.mark.parametrize(
    "url", ["http://192.168.1.4/v1", "https://api.example.com", "localhost.example.com", "http://[", ""]
)
def test_offline_refuses_servers_elsewhere(url: str) -> None:
    assert "leave this machine" in problem_of(text(llm=f"{{engine: 'toy_engines:REMOTE', base_url: '{url}'}}")).message


# ------------------------------------------------------------------------------------------------ files


def file_problem(source: Any) -> Problem:
    with pytest.raises(InvalidConfig) as caught:
        load_config(source)
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


def test_a_missing_file_has_near_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kitchen.yaml").write_text(text())
    problem = file_problem(tmp_path / "kichen.yaml")
    assert problem.message == f"there is no file '{tmp_path / 'kichen.yaml'}'; did you mean 'kitchen.yaml'?"
    assert "In that folder: kitchen.yaml." in problem.hint
    monkeypatch.chdir(tmp_path)
    assert file_problem("tinny").message == "there is no file 'tinny'; did you mean 'tiny'?"
    assert "tiny.yaml" in file_problem("/no/such/folder/x.yaml").hint


def test_names_that_no_file_can_have() -> None:
    for name in ("a\0b", "x" * 5000, "", "~nobody_at_all/x.yaml"):
        assert file_problem(name).message


def test_a_file_beats_a_packaged_name_and_a_folder_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cloud").mkdir()
    assert load_config("cloud", environ={}).llm[0].engine == "openai"
    (tmp_path / "cloud.yaml").write_text(text())
    assert load_config("cloud.yaml").llm[0].engine == TOY
    assert load_config("cloud", environ={}).llm[0].engine == "openai"


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"a: 1\nb: \xff\xfe\n")
    problem = file_problem(path)
    assert (problem.message, problem.origin.line) == ("no UTF-8 text (byte 0xFF at offset 8)", 2)
    path.write_bytes(b"RIFF" + bytes(range(256)) * 10)
    assert file_problem(path).message.startswith("no UTF-8 text")
    path.write_bytes(b"#" * (1 << 20) + b"#")
    assert file_problem(path).message == "larger than 1 MiB: no configuration file"
    path.write_bytes(b"")
    assert file_problem(path).message == "the file is empty"
    assert file_problem(tmp_path).message == "this is a folder, not a configuration file"
    assert "x.yaml" in file_problem(tmp_path).hint


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + text().encode())
    assert load_config(path) == parse_config(text())


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "x.yaml"
    path.write_text(text())
    monkeypatch.setattr(Path, "open", refuse)
    assert file_problem(path).message == "cannot be read: Permission denied"


def test_a_module_that_breaks_when_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_broken.py").write_text("raise ValueError('first line\\nsecond line')\n")
    monkeypatch.syspath_prepend(tmp_path)
    problem = problem_of(text(stt="{engine: 'toy_broken:X'}"))
    assert problem.message == "importing 'toy_broken:X' failed with ValueError: first line"


# ------------------------------------------------------------------------------------- names of models


def local(**stages: str) -> str:
    return text(**{"stt": "{engine: faster_whisper, model: whisper-tiny.en}", **stages})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store, and no catalog of the user's own."""
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


CATALOG = "models: {my-model: {files: {a.bin: {size: 1, sha256: " + "a" * 64 + "}}}}\n"


def test_a_mistyped_model_is_found_where_it_stands(home: Path) -> None:
    problem = problem_of(local(stt="{engine: faster_whisper, model: whisper-tinyen}"))
    assert (str(problem.origin), problem.key) == ("a.yaml:3", "stt.model")
    assert problem.message == (
        "found 'whisper-tinyen'; no model of that name is known; did you mean 'whisper-tiny.en'?"
    )
    assert "whisper-base" in problem.hint
    problem = problem_of(local(), "stt.model=whisper-bas")
    assert problem.origin.file == "--set" and "'whisper-base'" in problem.message


def test_voices_and_blocks_of_a_chain_are_looked_at(home: Path) -> None:
    tts = "[{engine: piper, voice: en_US-joe-mediun, more_voices: [nobody], voices: {de: nothing}}]"
    keys = [problem.key for problem in problems_of(local(tts=tts))]
    assert sorted(keys) == ["tts.0.more_voices.0", "tts.0.voice", "tts.0.voices.de"]


@pytest.mark.parametrize("name", ["./none.bin", "/no/such", "~/none", "hub:owner/name@v1", "whisper-base"])
def test_models_need_not_be_there(home: Path, name: str) -> None:
    parse_config(local(stt=f"{{engine: faster_whisper, model: '{name}'}}"))


def test_what_is_there_is_a_path(home: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    parse_config(local(stt="{engine: faster_whisper, model: mine}"))


def test_a_hub_reference_needs_its_revision(home: Path) -> None:
    problem = problem_of(local(stt="{engine: faster_whisper, model: 'hub:owner/name'}"))
    assert problem.key == "stt.model" and "hub:owner/name@revision" in problem.hint


def test_remote_engines_have_models_of_their_own(home: Path) -> None:
    parse_config(local(stt="{engine: openai, base_url: 'http://localhost:9/v1', model: anything}"))


def test_the_users_catalogs_count(home: Path, tmp_path: Path) -> None:
    mine = local(stt="{engine: faster_whisper, model: my-model}")
    (tmp_path / "more.yaml").write_text(CATALOG)
    parse_config(mine + f"models: {{catalogs: ['{tmp_path / 'more.yaml'}']}}\n")
    assert problem_of(mine).key == "stt.model"
    (home / "catalog.yaml").write_text(CATALOG)
    parse_config(mine)


def test_a_catalog_that_cannot_be_read_is_a_problem_of_its_own(home: Path, tmp_path: Path) -> None:
    problem = problem_of(local() + f"models: {{catalogs: ['{tmp_path / 'none.yaml'}']}}\n")
    assert (problem.key, problem.origin.line) == ("models.catalogs", 6)
    assert "none.yaml: the catalog cannot be read" in problem.message
    (home / "catalog.yaml").write_text("models: [")
    assert "catalog.yaml:2: not valid YAML" in problem_of(local()).message


def test_a_mistyped_workflow_gets_the_nearest_name() -> None:
    assert "did you mean 'chat'?" in problem_of(text(), "workflow.kind=caht").message


def test_how_long_a_broken_engine_is_left_alone() -> None:
    assert parse_config(text()).session.recovery_s == 30
    assert parse_config(text(), overrides=["session.recovery_s=2.5"]).session.recovery_s == 2.5
    assert problem_of(text(), "session.recovery_s=0").key == "session.recovery_s"
