"""The section `wake_word`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from antiphon.engines.config import option


class WakeWordKeys(BaseModel):
    """A phrase that has to be said before the session listens."""

    model: Annotated[str, Field(min_length=1)] | None = option(
        None,
        "`okay_nabu`, `hey_jarvis`, `hey_mycroft`, `alexa`, or the path of a microWakeWord model's JSON file; null: "
        "the session always listens.",
        examples=["hey_jarvis", "models/computer.json"],
    )
    threshold: float | None = option(
        None, "How sure the detector must be; null: as the model's authors chose.", gt=0, lt=1
    )
    listen_s: float = option(
        8.0,
        "How long the session listens after the phrase, after speech, and after its reply has been heard, before the "
        "phrase is needed again.",
        unit="s",
        gt=0,
        le=3600,
    )
