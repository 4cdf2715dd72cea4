"""What can be measured: a *subject* is a system under test, Antiphon on one configuration or anybody else's.

The driver plays clips to it and hears what comes back; all times are taken by the driver, at the same sink and by the
same rule for every subject. A subject's own timers are never read for the time to first audio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

from antiphon.benchmarks.sink import Sink
from antiphon.engines.audio import Samples
from antiphon.pipeline.events import Event


@dataclass(slots=True)
class Listener:
    """Where a session's output goes: audio to the sink, and what else a subject can tell, as events.

    Call it on the event loop only (from a thread: `loop.call_soon_threadsafe`).
    """

    sink: Sink = field(default_factory=Sink)
    events: list[Event] = field(default_factory=list)

    def audio(self, samples: Samples, rate_hz: int) -> float:
        """Output audio that arrives now, float32 mono, shape (n,); returns when its first sample is heard."""
        return self.sink.push(samples, rate_hz)

    def on_event(self, event: Event) -> None:
        """An event of Antiphon's own."""
        self.events.append(event)

    def tell(self, kind: type[Event], **fields: Any) -> None:
        """Something that another system told, in Antiphon's words, such as

            listener.tell(TranscriptEvent, role="user", text="what time is it", final=True)
            listener.tell(Committed, reason="peer")
            listener.tell(TurnEnded, status="completed", text="It is noon.")

        `t_s` is now unless given (event loop's clock).
        """
        now_s = asyncio.get_running_loop().time()
        self.events.append(kind(**{"t_s": now_s, "audio_s": 0.0, "session": "", **fields}))


class SubjectSession(Protocol):
    """One conversation with a subject."""

    async def hear(self, samples: Samples) -> None:
        """Input: live, 20 ms (16 kHz float32 mono, shape (320,)), paced by the driver; it must not be held up.

        To a subject with `finished_recording` the whole recording comes in one call, which returns once it has been
        handed over: the clock starts at the return.

        :raises Exception: the session has broken; the turn counts as failed.
        """
        ...

    async def close(self) -> None:
        """End the conversation in an orderly way, within a few seconds."""
        ...


class Subject(Protocol):
    """A system under test. An async context manager: entering starts, loads and warms it."""

    @property
    def name(self) -> str: ...

    @property
    def finished_recording(self) -> bool:
        """It cannot listen live: it is given whole recordings, and its times say nothing about the end of a turn."""
        ...

    @property
    def tells_turns(self) -> bool:
        """It tells `Committed` and `TurnEnded`; otherwise the end of a reply is guessed from the silence after it."""
        ...

    @property
    def pids(self) -> Sequence[int] | None:
        """The processes that do its work (their children count too); None: it works in this process."""
        ...

    async def __aenter__(self) -> Subject: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def open(self, listener: Listener) -> SubjectSession:
        """A new conversation, ready to hear."""
        ...
