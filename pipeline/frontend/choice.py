"""From the configuration to a front end's settings."""

from __future__ import annotations

import logging
from typing import Literal

from antiphon.engines.errors import EngineUnavailable
from antiphon.pipeline.config.frontend import FrontEndKeys
from antiphon.pipeline.frontend.front_end import FrontEndSettings
from antiphon.pipeline.frontend.webrtc import check_available

logger = logging.getLogger(__name__)


def front_end_settings(keys: FrontEndKeys, *, paced: bool, aec: bool) -> FrontEndSettings:
    """What the section `audio` asks for, on a transport of that kind.

    `auto` becomes `aec`, or `half_duplex` with a warning where the package for it is missing.

    :param paced: the transport works in real time; without that there is no echo.
    :param aec: no echo comes back from it, or it is cancelled there.
    """
    return FrontEndSettings(
        echo=_echo(keys, aec) if paced else "off",
        delay_ms=None if keys.echo_delay_ms == "auto" else keys.echo_delay_ms,
        noise_suppression=keys.noise_suppression,
        gain_control=keys.gain_control,
    )


def _echo(keys: FrontEndKeys, aec: bool) -> Literal["aec", "half_duplex", "off"]:
    if keys.echo != "auto":
        return keys.echo
    if aec:
        return "off"
    try:
        check_available()
    except EngineUnavailable as error:
        logger.warning(
            "no echo canceller: nobody can talk over a reply",
            extra={"echo": "half_duplex", "reason": error.message, "hint": error.hint},
        )
        return "half_duplex"
    return "aec"
