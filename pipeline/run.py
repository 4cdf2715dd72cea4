"""The work on one revision of one turn."""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass, field

from antiphon.engines.host import Meter
from antiphon.engines.protocols import TTSOptions
from antiphon.pipeline.events import Event, Timings
from antiphon.pipeline.listening import Hearing
from antiphon.pipeline.policy import Outcome
from antiphon.pipeline.reply import Reply, ReplyTimes
from antiphon.pipeline.speculation import Ledger, SpeculationReport
from antiphon.pipeline.usage import EngineUsage, usage_of


@dataclass(slots=True, eq=False)
class Run:
    """Begun at a pause, when the turn may not be over (speculation), or at its commit."""

    turn: int
    revision: int
    ledger: Ledger = field(default_factory=Ledger)
    hearing: Hearing | None = None
    """The transcription that it answers; None: it answers no speech (a greeting)."""
    begun_before_commit: bool | None = None
    """None: speculation is not possible in this session."""
    text: str | None = None
    """What the user said; None: not known yet."""
    earlier: Run | None = None
    """The answer to the turn as it was before the last pause: it may do for this revision too."""
    committed: asyncio.Event = field(default_factory=asyncio.Event)
    floor: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when everything said before this run has been heard."""
    interruptible: bool = True
    """The user's voice may stop it."""
    interrupted: bool = False
    """It was stopped: what was heard of it is all that was said."""
    user_id: str = ""
    """Of the user's message that it answers, if that has an id before it is remembered."""
    asked: bool = False
    """Somebody asked for this answer otherwise than by speaking: it is given whether or not turns are answered."""
    prompted: bool = True
    """It answers words of the user; False: whatever stands at the end of the conversation."""
    muted: bool = False
    """Its answer is for reading: no voice is asked for it."""
    voice: TTSOptions | None = None
    """In place of the session's."""
    item_id: str = ""
    """Of the assistant's message in the conversation, once it is there."""
    complete: bool = False
    """All of its answer has gone to the sink, and is in the conversation; it may not have been heard yet."""
    reply: Reply | None = None
    """What was interrupted: the client may tell later how much of it was heard."""
    audible_s: float | None = None
    """When its first audible sample is at the sink, on the event loop's clock."""
    told: bool = False
    """The final transcript was sent."""
    remembered: bool = False
    """What the user said is in the conversation."""
    refused: bool = False
    """An engine had too much to do for a guess; for the turn itself it may have time."""
    failed: bool = False
    """A stage broke: what is said of it is an apology."""
    ended: bool = False
    said: str | None = None
    """What the user said as the policy lets the conversation know it; None: no policy has judged it."""
    judged: Outcome | None = None
    """What the policy said of the whole answer."""
    calls: set[str] = field(default_factory=set)
    """Ids of tool calls that were told."""
    dismissed: str = ""
    """Why nobody wants an answer to it."""
    void: bool = False
    """The turn was reopened: nothing of this answer counts."""
    outbox: list[Event] = field(default_factory=list)
    """Events that wait for the commit."""
    task: asyncio.Task[None] | None = None
    meter: Meter = field(default_factory=Meter)
    speech_end_s: float | None = None
    vad_stop_s: float | None = None
    commit_s: float | None = None
    stt_s: float | None = None

    def take_over(self, other: Run) -> None:
        """Stand in for another run of the same turn, whose words turned out to be the same."""
        self.revision = other.revision
        self.hearing = other.hearing
        self.speech_end_s, self.vad_stop_s = other.speech_end_s, other.vad_stop_s
        self.commit_s, self.stt_s = other.commit_s, other.stt_s
        self.ledger.kept += 1
        self.outbox = [dataclasses.replace(event, revision=self.revision) for event in self.outbox]

    def timings(self, times: ReplyTimes | None) -> Timings:
        return Timings(
            speech_end_s=self.speech_end_s,
            vad_stop_s=self.vad_stop_s,
            commit_s=self.commit_s,
            stt_s=self.stt_s,
            first_token_s=times.first_token_s if times else None,
            first_clause_s=times.first_clause_s if times else None,
            first_audio_s=times.first_audio_s if times else None,
            audible_s=times.audible_s if times else None,
        )

    def usage(self) -> tuple[EngineUsage, ...]:
        """What engines used for the turn up to now."""
        heard = self.hearing.meter if self.hearing is not None else None
        in_vain = [meter for meter in self.ledger.hearings if meter is not heard]
        return usage_of([heard, self.meter], [*in_vain, *(one for one in self.ledger.wasted if one is not self.meter)])

    def report(self) -> SpeculationReport:
        heard = self.hearing.meter if self.hearing is not None else None
        return self.ledger.report(answer=self.meter, heard=heard, hit=self.begun_before_commit)
