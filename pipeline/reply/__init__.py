"""One answer on its way out: text as it comes -> clauses -> speech -> transport, in order, with bounded look-ahead.

:class:`Reply` lets three steps run side by side: :mod:`~antiphon.pipeline.reply.wording` (what is to be said),
:mod:`~antiphon.pipeline.reply.synthesis` (how it sounds) and :mod:`~antiphon.pipeline.reply.playback` (what is heard).
"""

from antiphon.pipeline.reply.contracts import (
    BeforeCall,
    BeforeSound,
    Emit,
    ReplySettings,
    ReplyTimes,
    Speakable,
    Splitter,
    TransportBroken,
    ends_session,
)
from antiphon.pipeline.reply.playback import AUDIBLE
from antiphon.pipeline.reply.reply import Reply

__all__ = [
    "AUDIBLE",
    "BeforeCall",
    "BeforeSound",
    "Emit",
    "Reply",
    "ReplySettings",
    "ReplyTimes",
    "Speakable",
    "Splitter",
    "TransportBroken",
    "ends_session",
]
