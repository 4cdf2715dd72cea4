"""The answers of a conversation as its client sees them: a response for each, by the turn that it answers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from antiphon.engines import protocols
from antiphon.engines.audio import AudioFrame
from antiphon.engines.protocols import ToolCall
from antiphon.pipeline.conversation import Conversation, new_id
from antiphon.pipeline.events import Interrupted, TurnEnded
from antiphon.pipeline.session import Session
from antiphon.server.realtime.items import ItemBook
from antiphon.server.realtime.mcp.calls import Calls
from antiphon.server.realtime.protocol import (
    Failure,
    ResponseConfig,
    ServerEvent,
    SessionConfig,
    Status,
    Usage,
    response_config,
    server_events,
)
from antiphon.server.realtime.responses import Response

REMEMBERED = 32
"""Responses of late whose sound may still be under way."""

_STATUS: dict[str, Status] = {"failed": "failed", "interrupted": "cancelled", "cancelled": "cancelled"}
"""By the status of a turn; the others are complete."""


class Answers:
    """One per connection. At most one response is being made at a time; one that is done may still be being heard."""

    def __init__(
        self,
        emit: Callable[[ServerEvent], None],
        book: ItemBook,
        *,
        conversation_id: str,
        config: Callable[[], SessionConfig],
        sends_audio: bool,
        offered: Callable[[ResponseConfig], ResponseConfig] = lambda config: config,
        spent: Callable[[], None] = lambda: None,
        hosted: Calls | None = None,
    ) -> None:
        """
        :param config: what is effective now.
        :param sends_audio: audio goes out in events; False: the transport plays it, and says when.
        :param offered: the same with the tools of its MCP servers, as they are known now.
        :param spent: told of each response that begins.
        :param hosted: calls of MCP tools.
        """
        self._emit = emit
        self._book = book
        self._conversation_id = conversation_id
        self._config = config
        self._sends_audio = sends_audio
        self._offered = offered
        self._spent = spent
        self._hosted = hosted
        self.session: Session | None = None
        self.heard_s: Callable[[int], float] = lambda mark: 0.0
        """The transport's word on how much of an answer was heard, in seconds."""
        self.spoke = False
        """Something was said by the assistant."""
        self._responses: dict[int, Response] = {}
        """Those whose turns are not over."""
        self._failures: dict[int, Failure] = {}
        self._heard: dict[int, str] = {}
        """By turn that was interrupted: what was heard of it."""
        self._cuts: dict[int, float] = {}
        """By turn that is not over: how much of its sound the client says was heard, in seconds."""
        self._cut_off = ""
        """The response that was being made when the client cut it; until the next one begins."""
        self._limited: set[int] = set()
        """Turns that are not over, to which the model had more to say than it was allowed to."""
        self._ids: OrderedDict[int, str] = OrderedDict()
        """Responses of late, by turn."""
        self._before_s: OrderedDict[int, float] = OrderedDict()
        """By turn of those: what the transport had counted as heard of it when its sound began. That was of an answer
        which was taken back."""

    # ------------------------------------------------------------------------ what is under way

    @property
    def active(self) -> Response | None:
        """The response that is being made."""
        return next((response for response in self._responses.values() if not response.done), None)

    def find(self, turn: int) -> Response | None:
        """The response to a turn that is not over."""
        return self._responses.get(turn)

    def config_of(self, turn: int) -> ResponseConfig:
        """What is effective for the answer to a turn."""
        response = self._responses.get(turn)
        return self._offered(response.config if response is not None else response_config(self._config()))

    def inputs_of(self, turn: int) -> Conversation | None:
        """What is read in place of the conversation for the answer to a turn; None: nothing.

        To be asked when that is begun, or begun anew.
        """
        self._limited.discard(turn)
        response = self._responses.get(turn)
        return None if response is None else response.inputs

    def message_of(self, turn: int) -> str | None:
        """The item that an answer's words are in, if it is there."""
        response = self._responses.get(turn)
        return response.message_id if response is not None and response.message_id in self._book else None

    def id_of(self, mark: int) -> str:
        """The id of the response whose sound has this mark."""
        return self._ids[mark] if mark in self._ids else self.to(mark).id

    # ------------------------------------------------------------------------ answers come

    def make(self, config: ResponseConfig) -> Response:
        """A response that the client asks for: :meth:`begin` it."""
        return Response(
            self._emit,
            config,
            conversation_id=self._conversation_id,
            book=self._book,
            sends_audio=self._sends_audio,
        )

    def begin(self, turn: int, response: Response) -> None:
        """From now on this is the answer to a turn."""
        response.turn = turn
        response.limited = turn in self._limited
        self._cut_off = ""
        self._responses[turn] = response
        self._ids[turn] = response.id
        while len(self._ids) > REMEMBERED:
            self._ids.popitem(last=False)
        response.create()
        self._spent()

    def to(self, turn: int) -> Response:
        """The response to a turn, which begins if there is none."""
        if turn not in self._responses:
            self.begin(turn, self.make(response_config(self._config())))
        return self._responses[turn]

    def sounds(self, mark: int) -> None:
        """Sound of an answer is about to be handed over, whichever way it goes."""
        if mark not in self._before_s:
            self._before_s[mark] = self.heard_s(mark)
            while len(self._before_s) > REMEMBERED:
                self._before_s.popitem(last=False)

    def audio(self, mark: int, frame: AudioFrame) -> None:
        """Sound of an answer is handed over."""
        self.to(mark).audio(frame)
        self.spoke = True

    def call(self, turn: int, call: ToolCall) -> None:
        """A tool is called; those of the client, and of its MCP servers, are told of."""
        response = self.to(turn)
        if self._hosted is not None and self._hosted.expects(call.id):
            self._hosted.begin(response, call)
        elif any(tool.name == call.name for tool in response.config.tools):  # else the server has done it itself
            response.call(call)

    def call_item(self, turn: int, call_id: str) -> str | None:
        """Under which id a call is kept; None: it was told of, and is there."""
        response = self._responses.get(turn)
        return None if response is not None and call_id in response.calls else new_id()

    def limited(self, turn: int) -> None:
        """The model was not done when it had written all it may; it may be a guess that nobody is told of yet."""
        self._limited.add(turn)
        if turn in self._responses:
            self._responses[turn].limited = True

    def _behind(self, turn: int) -> list[Response]:
        """Those of which sound waits behind an answer's."""
        turns = list(self._responses)
        later = [self._responses[one] for one in turns[turns.index(turn) + 1 :]]
        entries = [(one, self._book.find(one.message_id or "")) for one in later]
        return [one for one, entry in entries if entry is not None and entry.audio_ms]

    # ------------------------------------------------------------------------ and end

    def complete(self, turn: int, usage: protocols.Usage) -> None:
        """All of an answer was made; it may not have been heard yet."""
        if (response := self._responses.get(turn)) is not None:
            response.finish("completed", Usage(usage.input_tokens, usage.output_tokens, usage.cached_tokens))
            if not turn:  # no event tells of the end of what answers no turn
                del self._responses[turn]
                self._before_s.pop(turn, None)

    def cut(self, turn: int, seconds: float) -> None:
        """The client says how much of an answer's sound was heard. What is being made or heard of it ends there."""
        assert self.session is not None
        response = self._responses.get(turn)
        if response is None:
            self._played(turn, seconds)
            return
        self._cuts[turn] = seconds
        if not self.session.requests.stop(turn):
            return  # somebody else has stopped it
        self._cancel(response)
        for behind in self._behind(turn):  # their sound was thrown away with it
            self._cancel(behind)
            self.session.requests.stop(behind.turn)

    def was_cut(self, response_id: str | None) -> bool:
        """Whether a response that the client wants to cancel has ended by :meth:`cut`; None: the latest."""
        return bool(self._cut_off) and response_id in (None, self._cut_off)

    def interrupted(self, event: Interrupted) -> None:
        """What was heard of an answer is known, or known better."""
        if event.acknowledged:
            entry = next((one for one in self._book.of_turn(event.turn) if one.shape.spoken), None)
            if entry is not None:
                self._book.update(entry.item.id, text=event.heard)
            return
        self._heard[event.turn] = event.heard
        if not event.turn:
            self._settle(event.turn, "cancelled", Usage())

    def fails(self, turn: int, failure: Failure) -> None:
        """An answer cannot be given, or not to its end; an apology may come."""
        self._failures[turn] = failure
        if turn in self._responses:
            self._responses[turn].failure = failure

    def ended(self, event: TurnEnded) -> None:
        """A turn is over."""
        assert self.session is not None
        failure = self._failures.pop(event.turn, None)
        if failure is not None and (self.session.live.answers or event.turn in self._responses):
            self.to(event.turn).failure = failure
        usage = Usage(event.input_tokens, event.output_tokens, event.cached_tokens)
        self._settle(event.turn, _STATUS.get(event.status, "completed"), usage)

    def take_back(self, turn: int) -> None:
        """It was no end of a turn: its answer never was."""
        self._limited.discard(turn)
        for known in (self._failures, self._heard, self._cuts, self._before_s):
            known.pop(turn, None)
        response = self._responses.pop(turn, None)
        if response is None:
            return
        response.finish("cancelled")
        if response.message_id is not None and response.message_id in self._book:
            self._book.delete(response.message_id, remembered=True)

    def close(self) -> None:
        """The session is over: what was begun ends."""
        for response in self._responses.values():
            response.finish("cancelled")

    def _cancel(self, response: Response) -> None:
        """The client wants no more of it."""
        if not response.done:
            response.reason = "client_cancelled"
            response.finish("cancelled")
            self._cut_off = response.id

    def _settle(self, turn: int, status: Status, usage: Usage) -> None:
        """Nothing more comes of an answer."""
        assert self.session is not None
        self._limited.discard(turn)
        message, heard, cut_s = self.message_of(turn), self._heard.pop(turn, None), self._cuts.pop(turn, None)
        response = self._responses.pop(turn, None)
        if response is None:
            return
        response.finish(status, usage)
        if heard is not None and message is not None and response.config.modality == "audio":
            self._book.update(message, text=heard, status="incomplete")
            heard_s = max(0.0, self.heard_s(turn) - self._before_s.get(turn, 0.0))
            self._book.sounds.cut(turn, heard_s)
            if not self._sends_audio:
                self._emit(server_events.item_truncated(message, 0, round(1000 * heard_s)))
        if cut_s is not None:
            self._played(turn, cut_s)
        if not turn:
            self._before_s.pop(turn, None)  # the next line of its own has the same mark

    def _played(self, turn: int, seconds: float) -> None:
        """The client says how much of an answer that is over was heard."""
        assert self.session is not None
        self._book.sounds.cut(turn, seconds)
        self.session.played(turn, self._before_s.get(turn, 0.0) + seconds)
