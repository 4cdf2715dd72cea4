"""Engines for configuration tests, by dotted path: they have every kind of option, and do nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

from antiphon.engines.config import EngineOptions, option
from antiphon.engines.registry import EngineSpec


class Inner(BaseModel):
    depth: int = 1


class ToyOptions(EngineOptions):
    model: str = option("toy", "Text.", model=True, min_length=1)
    size: int = option(3, "A whole number.", unit="ms", ge=1, le=9)
    level: float = option(0.5, "A number.", gt=0)
    colour: Literal["red", "green", "blue"] = option("red", "A name.")
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = option("auto", "A number or a name.", unit="threads")
    language: str | None = option(None, "Text or nothing.")
    flag: bool = option(False, "Yes or no.")
    api_key: str | None = option(None, "A secret.", secret=True)
    pin: SecretStr | None = option(None, "Another secret.")
    folder: Path | None = option(None, "A path.")
    words: dict[str, str] = option({}, "Text by text.")
    names: tuple[str, ...] = option((), "Texts.")
    sizes: list[int] = option([], "Numbers.")
    inner: Inner = option(Inner(), "A mapping.")
    low: int = option(0, "Not above `high`.")
    high: int = option(9, "Not below `low`.")

    @field_validator("language")
    @classmethod
    def _known_language(cls, language: str | None) -> str | None:
        if language is not None and len(language) > 10:
            raise ValueError(f"'{language}' is no language code")
        return language

    @model_validator(mode="after")
    def _ordered(self) -> ToyOptions:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high, and the key is {self.api_key}")
        return self


class Toy:
    """A toy for any stage."""

    Options = ToyOptions

    def __init__(self, options: ToyOptions, context: Any) -> None:
        self.options = options


class Plain:
    """Has no options."""

    def __init__(self, options: EngineOptions, context: Any) -> None:
        self.options = options


class Needy:
    class Options(EngineOptions):
        model: str = option(..., "Required.")


class BadOptions:
    Options = dict


class Raising:
    class Options(EngineOptions):
        value: int = option(1, "Its validator is broken.")

        @field_validator("value")
        @classmethod
        def _broken(cls, value: int) -> int:
            raise RuntimeError("secret inside")


class Remote:
    class Options(EngineOptions):
        base_url: str | None = option(None, "Where.")


REMOTE = EngineSpec("llm", "remote", "Far away.", "toy_engines:Remote.Options", "toy_engines:Remote", local=False)
MOUTH = EngineSpec("tts", "mouth", "Speaks.", "toy_engines:ToyOptions", "toy_engines:Toy")
