"""A configuration's transcripts, for whoever builds sessions: the store, its retention, and what each session needs.

async with TranscriptService(config.transcript, rate_hz=config.audio.output_hz) as transcripts:
    begun = transcripts.begin("sess_1", transport)
    ...                                   # a session over begun.transport, with begun.recorder among its sinks
    await begun.aclose()
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from urllib.parse import urlsplit

from antiphon.engines.errors import AntiphonError
from antiphon.engines.net import is_loopback
from antiphon.pipeline.config.transcript import TranscriptKeys, span
from antiphon.pipeline.conversation import Conversation
from antiphon.pipeline.transcript.errors import TranscriptError, TranscriptStoreError
from antiphon.pipeline.transcript.recorder import Recorder, Warn
from antiphon.pipeline.transcript.recording import RecordedTransport, Recording, start_recording
from antiphon.pipeline.transcript.sealed import RecordingKey
from antiphon.pipeline.transcript.store import TranscriptStore, open_store
from antiphon.pipeline.transports.base import Transport

logger = logging.getLogger(__name__)

_PRUNE_EVERY_S = 3600.0


@dataclass(slots=True)
class BegunSession:
    """A session that is being written down."""

    recorder: Recorder
    transport: Transport
    """The session's own, or one that records it."""
    recording: Recording | None = None

    async def aclose(self, reason: str = "ended") -> None:
        """The session is over: finish its recording and its records.

        :raises TranscriptError: records could not be committed, and `on_failure` is "stop".
        """
        if self.recording is not None:
            complete = await self.recording.aclose()
            timeline = self.recording.timeline
            self.recorder.note_audio(
                "closed" if complete else "failed",
                self.recording.file,
                rate_hz=timeline.rate_hz,
                duration_s=self.recording.duration_s,
                encrypted=self.recording.file.endswith(".sealed"),
            )
        await self.recorder.aclose(reason)


class TranscriptService:
    """An async context manager: entering opens the store (for `store: none` there is none)."""

    def __init__(
        self,
        keys: TranscriptKeys,
        *,
        rate_hz: int = 24000,
        version: str = "",
        offline: bool = False,
        on_removed: Callable[[Sequence[str]], object] = lambda sessions: None,
    ) -> None:
        """
        :param on_removed: told, in a thread, of sessions that were too old to keep.
        :param rate_hz: of the recordings: the rate at which sessions speak.
        :param offline: refuse a database on another machine (its driver connects past Python).
        """
        self._keys = keys
        self._on_removed = on_removed
        self._offline = offline
        self._rate_hz = rate_hz
        self._version = version
        self._key: RecordingKey | None = None
        self._pruning: asyncio.Task[None] | None = None
        self._removing = threading.Lock()  # two that prune at once would both report the same sessions as removed
        self.store: TranscriptStore | None = None

    async def __aenter__(self) -> TranscriptService:
        """
        :raises EngineUnavailable: a package is missing.
        :raises TranscriptError: the store cannot be opened, or there is no key for recordings.
        """
        keys = self._keys
        if keys.store == "none":
            return self
        host = urlsplit(keys.store).hostname
        if self._offline and host is not None and not is_loopback(host):
            raise TranscriptStoreError(
                f"transcript.store: the database is on another machine ({host}), and session.offline is true",
                hint="set session.offline to false, or keep transcripts on this machine (store: sqlite)",
            )
        if keys.record_audio and keys.encrypt:
            self._key = RecordingKey.load(keys.key_file)
            self._key.cipher(bytes(32))  # the package is there
        self.store = await asyncio.to_thread(
            open_store, keys.store, path=keys.path, recordings=keys.recordings, durability=keys.durability
        )
        if keys.keep is not None or keys.keep_audio is not None:
            self._pruning = asyncio.create_task(self._prune_for_ever(), name="transcript-retention")
        return self

    async def __aexit__(self, *_: object) -> None:
        """:raises TranscriptWriteFailed: some records could not be written, and are lost."""
        if self._pruning is not None:
            self._pruning.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._pruning
        if self.store is not None:
            store, self.store = self.store, None
            await asyncio.to_thread(self._close, store)

    def _close(self, store: TranscriptStore) -> None:
        with self._removing:  # the thread of a cancelled round ends its work first
            store.close()

    @property
    def enabled(self) -> bool:
        return self.store is not None

    def begin(
        self,
        session: str,
        transport: Transport,
        *,
        person: str | None = None,
        resumed_from: str | None = None,
        config: Mapping[str, Any] | None = None,
        warn: Warn | None = None,
        audio: bool = True,
    ) -> BegunSession:
        """Begin to write a session down. Does not wait.

        :param person: None: as configured.
        :param warn: told of what the user should know, as a code and a sentence.
        :param audio: False: there is none to be recorded, whatever is configured.
        :raises TranscriptError: there is no store, or the recording cannot be made.
        """
        if self.store is None:
            raise TranscriptError("no transcripts are kept", hint="set transcript.store in the configuration")
        keys = self._keys
        recorder = self.store.recorder(
            session,
            person=keys.person if person is None else person,
            resumed_from=resumed_from,
            config=config,
            version=self._version,
            partials=keys.partials,
            on_failure=keys.on_failure,
            warn=warn,
        )
        if not keys.record_audio or not audio:
            return BegunSession(recorder, transport)
        tell = warn or (lambda code, message: None)
        recording = start_recording(
            self.store.recordings,
            session,
            self._rate_hz,
            key=self._key,
            on_failure=lambda why: tell("recording_failed", f"the audio is not recorded any more: {why}"),
        )
        recorder.note_audio("opened", recording.file, rate_hz=self._rate_hz, encrypted=self._key is not None)
        return BegunSession(recorder, cast(Transport, RecordedTransport(transport, recording)), recording)

    async def conversation(self, session: str) -> Conversation:
        """What an agent that goes on with an earlier session is to know.

        :raises TranscriptError: there is no store, or no such session.
        """
        if self.store is None:
            raise TranscriptError("no transcripts are kept", hint="set transcript.store in the configuration")
        return await asyncio.to_thread(self.store.conversation, session)

    async def find(self, beginning: str) -> str:
        """The id of a session, by its beginning; "last" is the newest one.

        :raises TranscriptError: there is no store, or no such session.
        """
        if self.store is None:
            raise TranscriptError("no transcripts are kept", hint="set transcript.store in the configuration")
        return (await asyncio.to_thread(self.store.find, beginning)).id

    async def chain(self, session: str) -> list[str]:
        """A session and those that it continues, oldest first.

        :raises TranscriptError: there is no store, or no such session.
        """
        if self.store is None:
            raise TranscriptError("no transcripts are kept", hint="set transcript.store in the configuration")
        return await asyncio.to_thread(self.store.chain, session)

    # ------------------------------------------------------------------------ retention

    async def _prune_for_ever(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.prune)
            except AntiphonError as error:
                logger.warning("what is too old could not be removed", extra={"reason": error.message})
            await asyncio.sleep(_PRUNE_EVERY_S)

    def prune(self) -> None:
        """Remove what is older than configured. Waits for the database.

        :raises TranscriptError: the database cannot be changed, or a recording cannot be deleted.
        """
        left: list[str] = []
        with self._removing:
            store = self.store
            if store is None:  # closed while this waited
                return
            for text, audio_only in ((self._keys.keep_audio, True), (self._keys.keep, False)):
                if text is not None:
                    keep: timedelta = span(text)
                    removed = store.prune(keep, audio_only=audio_only)
                    left.extend(removed.left)
                    if not audio_only:
                        self._on_removed(removed.sessions)
        if left:
            raise TranscriptError("some recordings could not be deleted: " + "; ".join(left))
