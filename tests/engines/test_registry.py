"""The table of engines: built-ins, entry points, dotted paths."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from toy_engines import REMOTE, Needy, Plain, Toy, ToyOptions

from antiphon.engines import crash_hints
from antiphon.engines.config import EngineOptions
from antiphon.engines.dotted import load_dotted
from antiphon.engines.errors import EngineUnavailable, UnknownEngine
from antiphon.engines.host import EngineHost
from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import STAGES
from antiphon.engines.registry import BUILTINS, EngineContext, EngineSpec, find, names, specs

BY_NAME = [pytest.param(spec, id=f"{spec.stage}.{spec.name}") for spec in BUILTINS]

OTHER = EngineSpec("tts", "other", "One more.", "toy_engines:ToyOptions", "toy_engines:Toy")
PAIR = [OTHER, EngineSpec("stt", "other", "And one more.", "toy_engines:ToyOptions", "toy_engines:Toy")]


def make_pair() -> list[EngineSpec]:
    return PAIR


@pytest.fixture
def entry_points(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Values of entry points that are installed for the test, as `name` in this module's namespace."""
    values: list[str] = []
    targets = {"OTHER": OTHER, "make_pair": make_pair}

    class Point:
        def __init__(self, name: str) -> None:
            self.name = name

        def load(self) -> Any:
            return targets[self.name]

    def installed(group: str) -> list[Point]:
        assert group == "antiphon.engines"
        return [Point(name) for name in values]

    monkeypatch.setattr(importlib.metadata, "entry_points", installed)
    specs.cache_clear()
    yield values
    monkeypatch.undo()
    specs.cache_clear()


@pytest.mark.parametrize("spec", BY_NAME)
def test_every_built_in_engine_has_documented_options_and_a_factory(spec: EngineSpec) -> None:
    options = spec.options_class()
    assert issubclass(options, EngineOptions)
    assert callable(load_dotted(spec.factory))
    assert spec.summary.endswith(".")
    for name, info in options.model_fields.items():
        assert info.description, f"{name} does not say what it means"
        assert info.description[0].isupper() or not info.description[0].isalpha(), name
        assert info.description.rstrip().endswith((".", ")")), f"{name}: {info.description}"


@pytest.mark.parametrize("spec", BY_NAME)
def test_the_defaults_of_every_built_in_engine_are_valid_and_do_not_change(spec: EngineSpec) -> None:
    options = spec.options_class()()
    assert options.model_config["frozen"]
    assert options.model_config["extra"] == "forbid"


@pytest.mark.parametrize("spec", BY_NAME)
def test_units_stand_in_names_too(spec: EngineSpec) -> None:
    for name, info in spec.options_class().model_fields.items():
        extra = info.json_schema_extra
        unit = extra.get("unit") if isinstance(extra, dict) else None
        if unit in ("ms", "s") or name.endswith(("_ms", "_s")):
            assert name.endswith(f"_{unit}"), f"{name} is in {unit}"


def test_modules_of_engines_import_without_their_packages() -> None:
    """Options must be readable (for `config check` and `engines show`) where the heavy packages are not installed."""
    heavy = sorted({package for spec in BUILTINS for package in spec.packages} | {"openai", "onnx", "llama_cpp"})
    code = (
        "import sys\n"
        f"for name in {heavy}: sys.modules[name] = None\n"
        "from antiphon.engines.dotted import load_dotted\n"
        "from antiphon.engines.registry import BUILTINS\n"
        "for spec in BUILTINS:\n"
        "    spec.options_class()\n"
        "    load_dotted(spec.factory)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_names_of_a_stage_are_sorted() -> None:
    assert names("vad") == ["silero", "webrtcvad"]
    assert names("llm") == ["llama_cpp", "none", "openai"]
    assert all(names(stage) for stage in STAGES)


def test_find_by_name() -> None:
    assert find("vad", "silero").name == "silero"
    assert find("stt", "openai") != find("tts", "openai")


@pytest.mark.parametrize(
    ("stage", "name", "says"),
    [
        ("stt", "faster-whisper", "did you mean 'faster_whisper'?"),
        ("stt", "zzz", "there are: faster_whisper, none, openai, wyoming; or a dotted path"),
        ("vad", "smart_turn", "there are: silero, webrtcvad"),
        ("stt", "no_such_package.module:X", "No module named 'no_such_package'"),
        ("stt", "toy_engines:Nothing", "module 'toy_engines' has no 'Nothing'"),
        ("stt", "..x:Y", "is no dotted path"),
        ("stt", ":", "is no dotted path"),
        ("ears", "silero", "no stage 'ears'; the stages are vad, turn, stt, llm, tts"),
    ],
)
def test_an_unknown_engine_says_what_there_is(stage: Any, name: str, says: str) -> None:
    with pytest.raises(UnknownEngine) as caught:
        find(stage, name)
    assert says in str(caught.value)


def test_a_class_by_dotted_path() -> None:
    spec = find("stt", "toy_engines:Toy")
    assert (spec.stage, spec.name, spec.summary) == ("stt", "toy_engines:Toy", "A toy for any stage.")
    assert spec.options_class() is ToyOptions
    assert find("stt", "toy_engines.Toy").options_class() is ToyOptions
    assert find("stt", "toy_engines:Needy").options_class() is Needy.Options


def test_a_class_without_options_has_none() -> None:
    assert find("stt", "toy_engines:Plain").options_class() is EngineOptions


def test_a_spec_by_dotted_path_is_taken_as_it_is() -> None:
    assert find("llm", "toy_engines:REMOTE") is REMOTE


def test_load_dotted() -> None:
    assert load_dotted("toy_engines:Plain") is Plain
    assert load_dotted("toy_engines.Plain") is Plain
    assert load_dotted("toy_engines:Toy.Options") is ToyOptions
    for wrong in ("toy_engines", "", ":", "toy_engines:", ":Plain", ".toy_engines:Plain", "toy_engines:Toy.Nothing"):
        with pytest.raises(ImportError):
            load_dotted(wrong)


def test_an_engine_is_made_by_its_factory() -> None:
    context = EngineContext(EngineHost(), ModelStore())
    options = ToyOptions(size=4)
    made = find("stt", "toy_engines:Toy").create(options, context)
    assert isinstance(made, Toy)
    assert made.options is options
    assert context.offline


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    spec = EngineSpec("stt", "x", "", "toy_engines:ToyOptions", "toy_engines:Toy", "cloud", ("json", "no_such_package"))
    assert spec.missing_packages() == ["no_such_package"]
    with pytest.raises(EngineUnavailable) as caught:
        spec.create(ToyOptions(), EngineContext(EngineHost(), ModelStore()))
    assert caught.value.hint == 'pip install "antiphon[cloud]"'
    assert (caught.value.stage, caught.value.engine, caught.value.retryable) == ("stt", "x", False)
    bare = EngineSpec("stt", "x", "", "a:B", "a:c", packages=("no_such_package",))
    with pytest.raises(EngineUnavailable, match="no_such_package") as caught:
        bare.require_packages()
    assert caught.value.hint == 'pip install "no_such_package"'


def test_the_command_says_what_the_build_needs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crash_hints, "_cpu_flags", lambda: frozenset({"amx_tile"}))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(EngineSpec, "missing_packages", lambda _: ["llama_cpp"])
    with pytest.raises(EngineUnavailable) as caught:
        find("llm", "llama_cpp").require_packages()
    assert caught.value.hint.startswith('CMAKE_ARGS="') and "-mno-amx-tile" in caught.value.hint
    assert caught.value.hint.endswith('pip install "antiphon[local-core]"')


def test_engines_of_other_packages_join_by_entry_point(entry_points: list[str]) -> None:
    entry_points.append("make_pair")
    assert find("tts", "other") is OTHER
    assert "other" in names("stt")
    assert len(specs()) == len(BUILTINS) + 2


def test_an_entry_point_may_be_one_spec(entry_points: list[str]) -> None:
    entry_points.append("OTHER")
    assert find("tts", "other") is OTHER


def test_two_engines_of_one_name_are_refused(entry_points: list[str]) -> None:
    entry_points.extend(["OTHER", "make_pair"])
    with pytest.raises(ValueError, match="two tts engines are named 'other'"):
        specs()
