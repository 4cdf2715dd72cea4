"""The table of engines: built-ins, third parties by entry point, a user's own class by dotted path."""

from __future__ import annotations

import difflib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from antiphon.engines.config import EngineOptions
from antiphon.engines.crash_hints import install_command
from antiphon.engines.dotted import load_dotted, split_dotted
from antiphon.engines.errors import EngineUnavailable, UnknownEngine
from antiphon.engines.host import EngineHost
from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import STAGES, MachinePlan, Stage

ENTRY_POINT_GROUP = "antiphon.engines"


@dataclass(frozen=True, slots=True)
class EngineContext:
    """What a factory may use to make an engine."""

    host: EngineHost
    models: ModelStore
    plan: MachinePlan = field(default_factory=MachinePlan.for_this_machine)
    offline: bool = True
    """Forbids every non-loopback connection."""


Factory = Callable[[Any, EngineContext], Any]
"""(options, context) -> engine, not yet entered. Heavy imports belong inside it, or in the engine's `__aenter__`."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One engine of one stage."""

    stage: Stage
    name: str
    summary: str
    """One sentence."""
    options: str
    """Dotted path "module:Class" of its :class:`~antiphon.engines.config.EngineOptions`."""
    factory: str
    """Dotted path "module:function" of its factory."""
    extra: str = ""
    """The antiphon extra that brings its packages; empty: none needed."""
    packages: tuple[str, ...] = ()
    """Import names that must be there."""
    licence: str = ""
    local: bool = True

    def options_class(self) -> type[EngineOptions]:
        loaded: type[EngineOptions] = load_dotted(self.options)
        return loaded

    def create(self, options: EngineOptions, context: EngineContext) -> Any:
        """Make the engine.

        :raises EngineUnavailable: a package is missing; the hint is the exact `pip install`.
        """
        self.require_packages()
        factory: Factory = load_dotted(self.factory)
        return factory(options, context)

    def missing_packages(self) -> list[str]:
        return [name for name in self.packages if importlib.util.find_spec(name) is None]

    def install_command(self, missing: Sequence[str]) -> str:
        """The command that brings these packages of it, with what their build needs on this machine."""
        return install_command(f"antiphon[{self.extra}]" if self.extra else " ".join(missing), missing)

    def require_packages(self) -> None:
        if missing := self.missing_packages():
            raise EngineUnavailable(
                f"the {self.stage} engine '{self.name}' needs the Python package {', '.join(missing)}, "
                "which is not installed",
                stage=self.stage,
                engine=self.name,
                hint=self.install_command(missing),
            )


def _builtin(
    stage: Stage,
    name: str,
    summary: str,
    module: str,
    options: str,
    *,
    extra: str = "local-core",
    packages: tuple[str, ...] = (),
    licence: str = "",
    local: bool = True,
) -> EngineSpec:
    path = f"antiphon.engines.{stage}.{module}"
    return EngineSpec(stage, name, summary, f"{path}:{options}", f"{path}:create", extra, packages, licence, local)


BUILTINS: tuple[EngineSpec, ...] = (
    _builtin("vad", "webrtcvad", "WebRTC's Gaussian-mixture VAD: tiny and fast, coarse in noise.", "webrtc",
             "WebRTCVADOptions", packages=("webrtcvad",), licence="BSD-3-Clause"),
    _builtin("vad", "silero", "Silero's recurrent network (ONNX) with hysteresis.", "silero",
             "SileroOptions", packages=("onnxruntime",), licence="MIT"),
    _builtin("turn", "silence", "A fixed silence ends the turn.", "silence", "SilenceOptions", extra=""),
    _builtin("turn", "smart_turn", "Smart Turn (ONNX) hears from the last 8 s whether the speaker has finished.",
             "smart_turn", "SmartTurnOptions", packages=("onnxruntime",), licence="BSD-2-Clause"),
    _builtin("stt", "faster_whisper", "Any CTranslate2 Whisper, with a short encoder window.", "faster_whisper",
             "FasterWhisperOptions", packages=("faster_whisper", "ctranslate2"), licence="MIT"),
    _builtin("stt", "openai", "Transcription at any base URL that speaks OpenAI's audio API.", "openai",
             "OpenAISTTOptions", extra="cloud", packages=("openai",), licence="Apache-2.0", local=False),
    _builtin("stt", "wyoming", "Transcription by a Wyoming server, in another process or on another machine.",
             "wyoming", "WyomingSTTOptions", extra="wyoming", packages=("wyoming",), licence="MIT", local=False),
    _builtin("stt", "none", "Hears nothing: for a server that only speaks.", "none", "NoSTTOptions", extra=""),
    _builtin("llm", "llama_cpp", "A GGUF model in this process, by llama.cpp.", "llama_cpp",
             "LlamaCppOptions", packages=("llama_cpp", "jinja2", "json_repair"), licence="MIT"),
    _builtin("llm", "openai", "Chat completions at any base URL: vLLM, llama-server, Ollama, the vendor.", "openai",
             "OpenAILLMOptions", extra="cloud", packages=("openai",), licence="Apache-2.0", local=False),
    _builtin("llm", "none", "Answers nothing: for a server that only hears or speaks.", "none", "NoLLMOptions",
             extra=""),
    _builtin("tts", "piper", "Piper voices (VITS, ONNX), cut and sliced for early audio.", "piper",
             "PiperOptions", extra="piper", packages=("piper", "onnxruntime", "onnx"), licence="GPL-3.0-or-later"),
    _builtin("tts", "openai", "Streamed speech at any base URL that speaks OpenAI's audio API.", "openai",
             "OpenAITTSOptions", extra="cloud", packages=("openai",), licence="Apache-2.0", local=False),
    _builtin("tts", "wyoming", "Speech by a Wyoming server, such as Piper in a process of its own.", "wyoming",
             "WyomingTTSOptions", extra="wyoming", packages=("wyoming",), licence="MIT", local=False),
    _builtin("tts", "none", "Says nothing: for a server that only hears.", "none", "NoTTSOptions", extra=""),
)  # fmt: skip


@cache
def specs() -> Mapping[tuple[Stage, str], EngineSpec]:
    """All registered engines: the built-ins and the entry points of group "antiphon.engines".

    An entry point's value is an :class:`EngineSpec` or a function that returns one or several.

    :raises ValueError: two engines of one stage have the same name.
    """
    table: dict[tuple[Stage, str], EngineSpec] = {}
    for spec in (*BUILTINS, *_third_party()):
        key = (spec.stage, spec.name)
        if key in table:
            raise ValueError(f"two {spec.stage} engines are named '{spec.name}': {table[key].factory}, {spec.factory}")
        table[key] = spec
    return table


def _third_party() -> list[EngineSpec]:
    found: list[EngineSpec] = []
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        loaded = point.load()
        value = loaded() if callable(loaded) and not isinstance(loaded, EngineSpec) else loaded
        found.extend([value] if isinstance(value, EngineSpec) else value)
    return found


def names(stage: Stage) -> list[str]:
    return sorted(name for kind, name in specs() if kind == stage)


def find(stage: Stage, name: str) -> EngineSpec:
    """The spec of an engine by name, or of a user's own class by dotted path ("module:Class").

    A user's class has an attribute `Options` (an EngineOptions subclass; optional) and is called as
    `Class(options, context)`.

    :raises UnknownEngine: neither; the message lists the names and the nearest one.
    """
    if stage not in STAGES:
        raise UnknownEngine(f"no stage '{stage}'; the stages are {', '.join(STAGES)}")
    if spec := specs().get((stage, name)):
        return spec
    if ":" in name or "." in name:
        try:
            target = load_dotted(name)
        except ImportError as error:
            raise UnknownEngine(f"the {stage} engine '{name}' cannot be imported: {error}") from error
        if isinstance(target, EngineSpec):
            return target
        own = getattr(target, "Options", None) is not None
        options = f"{split_dotted(name)}.Options" if own else "antiphon.engines.config:EngineOptions"
        return EngineSpec(stage, name, (target.__doc__ or "").strip().split("\n")[0], options, name)
    near = difflib.get_close_matches(name, names(stage), 1)
    suggestion = f"; did you mean '{near[0]}'?" if near else ""
    raise UnknownEngine(
        f"no {stage} engine is named '{name}'{suggestion} (there are: {', '.join(names(stage))}; "
        "or a dotted path 'module:Class' to your own)"
    )
