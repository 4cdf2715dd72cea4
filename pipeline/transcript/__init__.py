"""What was said and done, written down before it is acted on, and read again.

store = open_store()                                  # an SQLite file, or a PostgreSQL URL
recorder = store.recorder("sess_1")                   # an EventSink
recorder(event)                                       # never blocks
await recorder.settled()                              # committed: now it may be acted on
store.conversation("sess_1")                          # what an agent that goes on is to know

Importing this needs no database package; opening a store does (`pip install "antiphon[memory]"`).
"""

from antiphon.pipeline.transcript.compaction import Compactor, llm_summariser
from antiphon.pipeline.transcript.errors import (
    RecordingDamaged,
    SessionErased,
    SessionExists,
    TranscriptError,
    TranscriptKeyError,
    TranscriptStoreError,
    TranscriptWriteFailed,
    UnknownSession,
)
from antiphon.pipeline.transcript.recorder import Recorder
from antiphon.pipeline.transcript.recording import RecordedTransport, Recording, read_recording, start_recording
from antiphon.pipeline.transcript.sealed import RecordingKey
from antiphon.pipeline.transcript.service import BegunSession, TranscriptService
from antiphon.pipeline.transcript.store import Erased, TranscriptStore, default_path, open_store
from antiphon.pipeline.transcript.values import Call, Record, SessionInfo, TurnView

__all__ = [
    "BegunSession",
    "Call",
    "Compactor",
    "Erased",
    "Record",
    "RecordedTransport",
    "Recorder",
    "Recording",
    "RecordingDamaged",
    "RecordingKey",
    "SessionErased",
    "SessionExists",
    "SessionInfo",
    "TranscriptError",
    "TranscriptKeyError",
    "TranscriptService",
    "TranscriptStore",
    "TranscriptStoreError",
    "TranscriptWriteFailed",
    "TurnView",
    "UnknownSession",
    "default_path",
    "llm_summariser",
    "open_store",
    "read_recording",
    "start_recording",
]
