"""What is done to the input before a session hears it: echo cancellation, noise suppression, gain control.

No asyncio here, and no clock: times are handed in.
"""

from antiphon.pipeline.frontend.choice import front_end_settings
from antiphon.pipeline.frontend.front_end import AudioFrontEnd, FrontEndSettings

__all__ = ["AudioFrontEnd", "FrontEndSettings", "front_end_settings"]
