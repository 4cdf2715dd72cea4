"""What the calls of the console answer, for those who check and describe it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# ---------------------------------------------------------------------------------------- the state


class RefusedNow(_Shape):
    """Why no conversation would be taken now."""

    code: str
    """`loading`, `full`, `busy`, `draining`."""
    message: str
    retry_after_s: int


class Kept(_Shape):
    """What is kept of conversations."""

    kept: bool
    audio: bool
    encrypted: bool
    """Recordings are."""
    keep: str | None
    """For how long, such as `30d`; null: for ever."""


class EngineState(_Shape):
    """One engine of the configuration."""

    stage: Literal["vad", "turn", "stt", "llm", "tts"]
    engine: str
    model: str | None
    """Or the voice."""
    fallback: int
    """Its place in the chain of its stage: 0 is asked first."""
    load_s: float | None
    """How long its stage took to load."""
    in_order: bool | None
    """False: it is not asked just now, since it failed; null: nobody keeps count."""
    loaded: bool


class WorkerState(_Shape):
    """A loaded model, and what it has to do."""

    name: str
    queued: int
    running: bool
    done: int
    failed: int
    dropped: int
    refused: int
    busy_s: float


class State(_Shape):
    """What the server is, how it is, and what the key is for."""

    version: str
    console: str
    """The edition of the console's files: a page that was loaded with another one is to be loaded again."""
    scopes: list[str]
    key_id: str
    """Of the key that was shown; empty where none is asked for."""
    refused: RefusedNow | None
    sessions: int
    max_sessions: int
    workflow: str
    offline: bool
    transcripts: Kept
    engines: list[EngineState]
    workers: list[WorkerState]


# ---------------------------------------------------------------------------------------- transcripts


class Hit(_Shape):
    """A text in which all the words stand, around the first of them."""

    turn: int
    who: Literal["user", "assistant", "tool"]
    text: str


class _About(_Shape):
    id: str
    started_at: str
    last_at: str
    ended: bool
    """False: it is going on, or its process died."""
    turns: int
    person: str | None
    resumed_from: str | None
    audio: bool
    """There is a recording."""


class Line(_About):
    """A conversation in a list."""

    opening: str
    """The first that the user said."""
    hits: list[Hit]


class Lines(_Shape):
    """A part of the list."""

    sessions: list[Line]
    after: str | None
    """Where the list goes on; null: it does not."""


class Call(_Shape):
    """A tool that was called."""

    call_id: str
    name: str
    arguments: str
    output: str | None
    """null: in doubt, no result was recorded."""


class Asked(_Shape):
    """A question of a turn, and what became of it."""

    approval_id: str
    state: str
    question: str
    tool: str
    by: str


class Used(_Shape):
    """What an engine used."""

    stage: str
    engine: str
    unit: str
    amount: float
    wasted: float
    """The part of it that no answer was made from."""


class Turn(_Shape):
    """One turn, as it came out."""

    turn: int
    """0: said outside of any turn."""
    at: str | None
    status: str
    aside: bool
    user: str
    heard: str
    unheard: str
    """What of the answer the user never heard."""
    calls: list[Call]
    approvals: list[Asked]
    errors: list[str]
    timings: dict[str, float | None]
    """Seconds on the session's clock, as in the event `turn_ended`."""
    response_ms: float | None
    from_s: float | None
    """Its place in the recording."""
    usage: list[Used]


class Conversation(_About):
    """A whole conversation."""

    turns_shown: list[Turn]
    usage: list[Used]


class Ticket(_Shape):
    """Where a recording can be heard for a quarter of an hour, without a key."""

    url: str
    duration_s: float


# ------------------------------------------------------------------------------------------ approvals


class Question(_Shape):
    """A question that waits for a yes, or is decided. Times are seconds since 1970."""

    id: str
    session: str
    turn: int
    kind: str
    question: str
    tool: str
    call_id: str
    arguments: str
    decides: Literal["voice", "desk", "any"]
    on_timeout: Literal["grant", "refuse"]
    asked_s: float
    expires_s: float
    state: Literal["pending", "granted", "refused", "cancelled"]
    decided_s: float | None
    decided_by: str
    note: str
    claimed_s: float | None
    """When somebody began to act on the decision."""


class Questions(_Shape):
    """Questions, oldest first."""

    approvals: list[Question]
    now_s: float
    """The server's clock, by which they run out."""
