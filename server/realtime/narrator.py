"""What the client is told of the conversation while it happens: from the pipeline's events to the protocol's."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from antiphon.engines import protocols
from antiphon.engines.protocols import ToolCall
from antiphon.pipeline.conversation import Item, new_id
from antiphon.pipeline.events import (
    Committed,
    Dropped,
    ErrorEvent,
    Event,
    Interrupted,
    SpeechStarted,
    SpeechStopped,
    TextDeltaEvent,
    TranscriptEvent,
    TurnEnded,
)
from antiphon.pipeline.session import Session
from antiphon.server.realtime.answers import Answers
from antiphon.server.realtime.items import Entry, ItemBook
from antiphon.server.realtime.protocol import (
    Failure,
    ProtocolError,
    ServerEvent,
    Shape,
    server_events,
)
from antiphon.server.realtime.protocol.session import SessionConfig
from antiphon.server.realtime.sounds import Recorder, Sound, joined

LEAST_PADDING_S = 0.3
"""So much of what came before the first sample of a voice belongs to the sound of its turn: voices begin softly."""
TAIL_S = 0.2
"""And so much of what came behind the last one."""


@dataclass(slots=True, eq=False)
class _Spoken:
    """A turn of speech as the client sees it."""

    item_id: str
    began_s: float
    ended_s: float = 0.0
    committed: bool = False
    heard: bool = False
    """Its words are known."""
    guess: str = ""
    """What was heard of it last, while it may go on."""
    sent: str = ""
    """Of its words: what the client has been told already."""
    sound: Sound | None = None
    """What was said in it, where that is kept."""
    goes_on: bool = False
    """It was reopened."""
    before: Sound | None = None
    """What had been said in it until then, where that is kept."""
    void: bool = False
    """Nothing becomes of it, and the client knows nothing of it."""


class Narrator:
    """One per connection: the session's front, and one of its sinks.

    When the user speaks into a reply, nobody is told until the session has decided what that means, by the rule of
    `server.realtime.interrupt`: to a client, `speech_started` is the order to drop what it plays. What goes by, such
    as a cough, is never told of.
    """

    def __init__(
        self,
        emit: Callable[[ServerEvent], None],
        book: ItemBook,
        answers: Answers,
        *,
        config: Callable[[], SessionConfig],
        recorder: Recorder,
    ) -> None:
        """
        :param config: what is effective now.
        :param recorder: keeps what the user says, while that is needed.
        """
        self._emit = emit
        self._book = book
        self._answers = answers
        self._config = config
        self._recorder = recorder
        self.session: Session | None = None
        self.on_event: Callable[[], None] = lambda: None
        """Called behind each event: what is awaited may be another."""
        self._spoken: dict[int, _Spoken] = {}
        self._reopened: tuple[int, Sound | None] = (0, None)
        """The turn that was reopened last, and what had been said in it."""
        self._untold: list[tuple[_Spoken, Callable[[], None]]] = []
        """What is told once it is known that the user means to interrupt."""

    @property
    def awaited(self) -> bool:
        """Whether what the user has just said will be answered."""
        assert self.session is not None
        waiting = (spoken for turn, spoken in self._spoken.items() if self._answers.find(turn) is None)
        return self.session.live.answers and any(spoken.committed and not spoken.void for spoken in waiting)

    # ------------------------------------------------------------------------ the session's front

    def user_item(self, turn: int) -> str | None:
        spoken = self._spoken.get(turn)
        return spoken.item_id if spoken is not None and spoken.item_id in self._book else None

    def answer_item(self, turn: int) -> str | None:
        return self._answers.message_of(turn)

    def call_item(self, turn: int, call_id: str) -> str | None:
        return self._answers.call_item(turn, call_id)

    def called(self, turn: int, call: ToolCall) -> None:
        self._answers.call(turn, call)

    def line(self, turn: int, text: str) -> None:
        self._answers.to(turn).text(text)

    def complete(self, turn: int, usage: protocols.Usage) -> None:
        self._answers.complete(turn, usage)
        self.on_event()

    def stopping(self, turn: int) -> None:
        self._tell_untold()

    def going_on(self, turn: int) -> None:
        if (spoken := self._spoken.get(turn)) is not None and not spoken.committed:
            spoken.void = True
        elif spoken is not None and any(one is spoken for one, _ in self._untold):
            spoken.void = True
        self._untold = [(one, tell) for one, tell in self._untold if not one.void]

    # ------------------------------------------------------------------------ the transport's listener

    def playing(self, mark: int) -> None:
        """The first of an answer's sound goes out."""
        self._answers.spoke = True
        self._emit(server_events.output_audio_started(self._answers.id_of(mark)))

    def played(self, mark: int) -> None:
        """All of it was heard."""
        self._emit(server_events.output_audio_stopped(self._answers.id_of(mark)))

    def cleared(self, mark: int) -> None:
        """The rest of it was thrown away."""
        self._emit(server_events.output_audio_cleared(self._answers.id_of(mark)))

    # ------------------------------------------------------------------------ the session's events

    def __call__(self, event: Event) -> None:
        """Tell the client of an event (an `EventSink`)."""
        self._tell(event)
        self.on_event()

    def _tell(self, event: Event) -> None:
        spoken = self._spoken.get(event.turn)
        if spoken is not None and spoken.void:
            is_dropped = isinstance(event, Dropped) and not spoken.committed
            if is_dropped or isinstance(event, Committed):
                self._recorder.drop()
            if is_dropped or isinstance(event, TurnEnded):
                del self._spoken[event.turn]
            return
        assert self.session is not None
        if self._untold and not self.session.undecided:
            self._tell_untold()
        match event:
            case SpeechStarted():
                self._speech_began(event)
            case SpeechStopped() if spoken is not None:
                spoken.ended_s = event.at_s
            case Committed() if spoken is not None:
                spoken.committed = True
                sound = self._recorder.take(spoken.ended_s + TAIL_S)
                spoken.sound = joined(spoken.before, sound) if spoken.goes_on else sound
                self._soon(spoken, lambda: self._commit(spoken))
            case Dropped():
                self._dropped(event, spoken)
            case TranscriptEvent(role="user", final=True) if spoken is not None:
                self._words(event.turn, spoken, event.text)
            case TranscriptEvent(role="user") if spoken is not None:
                self._guessed(spoken, event.text)
            case TextDeltaEvent():
                self._answers.to(event.turn).text(event.text)
            case Interrupted():
                self._answers.interrupted(event)
            case ErrorEvent():
                self._failed(event, spoken)
            case TurnEnded():
                self._ended(event, spoken)

    def _soon(self, spoken: _Spoken, tell: Callable[[], None]) -> None:
        """Now, or once it is known what speech into a reply means."""
        assert self.session is not None
        if self._untold or self.session.undecided:
            self._untold.append((spoken, tell))
        else:
            tell()

    def _tell_untold(self) -> None:
        untold, self._untold = self._untold, []
        for _, tell in untold:
            tell()

    # ------------------------------------------------------------------------ the user speaks

    def _speech_began(self, event: SpeechStarted) -> None:
        if not event.turn or event.turn in self._spoken:
            return
        spoken = self._spoken[event.turn] = _Spoken(new_id(), event.at_s)
        turn, before = self._reopened
        if turn == event.turn:
            spoken.goes_on, spoken.before = True, before
        detection = self._config().turn_detection
        padding_ms = getattr(detection, "prefix_padding_ms", 0)
        start_ms = max(0, round(1000 * event.at_s - padding_ms))
        lead_s = max(padding_ms / 1000, LEAST_PADDING_S)
        self._recorder.begin(event.at_s - lead_s, goes_on=spoken.goes_on)
        self._soon(spoken, lambda: self._emit(server_events.speech_started(spoken.item_id, start_ms)))

    def _commit(self, spoken: _Spoken) -> None:
        self._emit(server_events.speech_stopped(spoken.item_id, round(1000 * spoken.ended_s)))
        self._emit(server_events.input_committed(spoken.item_id, self._book.last_id))
        item = Item(id=spoken.item_id, role="user")
        self._book.append(Entry(item, Shape(spoken=True, transcript_known=False)))
        self._book.done(spoken.item_id)
        if spoken.sound is not None:
            self._book.sounds.put(spoken.item_id, spoken.sound)

    def _words(self, turn: int, spoken: _Spoken, text: str) -> None:
        assert self.session is not None
        spoken.heard = True
        self._transcribed(spoken, text)
        if self.session.live.answers and self._answers.active is None:
            self._answers.to(turn)  # else it begins with its first words: one at a time

    def _guessed(self, spoken: _Spoken, text: str) -> None:
        """Words of a turn that goes on: those that were heard twice alike are told. Deltas cannot be taken back."""
        sure = common_words(spoken.guess, text)
        spoken.guess = text
        if self._untold or self._config().transcription is None or not sure.startswith(spoken.sent):
            return
        if news := sure[len(spoken.sent) :]:
            spoken.sent = sure
            self._emit(server_events.transcription_delta(spoken.item_id, news))

    def _transcribed(self, spoken: _Spoken, text: str) -> None:
        self._book.update(spoken.item_id, text=text, transcript_known=True)
        self.tell_transcript(spoken.item_id, text, max(0.0, spoken.ended_s - spoken.began_s), sent=spoken.sent)

    def tell_transcript(self, item_id: str, text: str, seconds: float, *, sent: str = "") -> None:
        """The words of a spoken item are known; told where the client wants to know.

        :param sent: what was told of them before; where it turned out to be wrong, only the whole is told.
        """
        if self._config().transcription is None:
            return
        if text.startswith(sent) and text != sent:
            self._emit(server_events.transcription_delta(item_id, text[len(sent) :]))
        self._emit(server_events.transcription_completed(item_id, text, seconds))

    def _dropped(self, event: Dropped, spoken: _Spoken | None) -> None:
        if spoken is None:
            return
        if event.reason == "reopened":
            del self._spoken[event.turn]
            self._reopened = (event.turn, spoken.sound)
            self._take_back(event.turn, spoken)
        elif not spoken.committed and event.reason not in ("resumed", "refused"):
            spoken.void = True
            self._untold = [(one, tell) for one, tell in self._untold if one is not spoken]
            del self._spoken[event.turn]
            self._recorder.drop()

    def _take_back(self, turn: int, spoken: _Spoken) -> None:
        """The user went on just after the end: that was none, and what was told of it is void."""
        self._untold = [(one, tell) for one, tell in self._untold if one is not spoken]
        self._answers.take_back(turn)
        if spoken.item_id in self._book:
            self._book.delete(spoken.item_id, remembered=True)

    def _failed(self, event: ErrorEvent, spoken: _Spoken | None) -> None:
        if spoken is not None and event.stage == "stt":
            spoken.heard = True
            if spoken.item_id in self._book and self._config().transcription is not None:
                self._emit(server_events.transcription_failed(spoken.item_id, event.message, event.code))
        if event.fatal or not (spoken is not None or self._answers.find(event.turn) is not None):
            problem = ProtocolError(event.message, code=event.code, type="server_error")
            self._emit(server_events.error(problem))
            return
        self._answers.fails(event.turn, Failure(event.message, event.code))

    def _ended(self, event: TurnEnded, spoken: _Spoken | None) -> None:
        self._spoken.pop(event.turn, None)
        self._untold = [(one, tell) for one, tell in self._untold if one is not spoken]
        if spoken is not None and spoken.committed and not spoken.heard and spoken.item_id in self._book:
            self._transcribed(spoken, "")
        self._answers.ended(event)


def common_words(one: str, other: str) -> str:
    """The whole words that two texts begin with."""
    words = re.compile(r"\s*\S+")
    alike = 0
    for left, right in zip(words.finditer(one), words.finditer(other), strict=False):
        if left.group() != right.group():
            break
        alike = left.end()
    return one[:alike]
