"""The keys of `audio` that say what is done to the input before the session hears it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from antiphon.engines.config import option

EchoControl = Literal["auto", "aec", "half_duplex", "off"]
NoiseSuppression = Literal["off", "low", "moderate", "high"]


class FrontEndKeys(BaseModel):
    """Echo, noise and level."""

    echo: EchoControl = option(
        "auto",
        "What keeps the assistant from hearing itself: `aec` (an echo canceller: one can talk over the reply), "
        "`half_duplex` (deaf while a reply sounds), `off`; `auto`: `aec` where the transport does not cancel echo "
        "itself, or `half_duplex` if the package for it is missing.",
    )
    echo_delay_ms: Literal["auto"] | Annotated[float, Field(ge=0, le=5000)] = option(
        "auto",
        "How long after the transport says that a sample sounds its echo comes back, at least; `auto`: found by the "
        "echo canceller, up to 0.3 s.",
        unit="ms",
    )
    noise_suppression: NoiseSuppression = option(
        "off", "Takes steady noise out of the input: `low` by 6 dB, `moderate` by 12 dB, `high` by 18 dB."
    )
    gain_control: bool = option(False, "Brings a voice that is too quiet to a usual level.")
