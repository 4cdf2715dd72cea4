"""The approval desk: questions are opened here, waited for, and decided by API, command line or callback.

Several processes share one desk through its file. Within a process a decision is known at once; one that another
process makes, within `poll_s`. Nothing is polled while no question is open.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from antiphon.engines.models.store import antiphon_home
from antiphon.pipeline.errors import AlreadyDecided, ApprovalError
from antiphon.pipeline.policy.approval import Approval, Channel, State
from antiphon.pipeline.policy.verdicts import ApprovalRequest, Decision, Fallback

if TYPE_CHECKING:
    from antiphon.pipeline.policy.approval_store import ApprovalStore

logger = logging.getLogger(__name__)

ApprovalCallback = Callable[[Approval], Any]
"""Called for each question, on the event loop; may be a coroutine function. True grants, False refuses."""

OnChange = Callable[[Approval], None]


def default_path() -> Path:
    """`approvals.db` in `$ANTIPHON_HOME`, or in `~/.local/share/antiphon`."""
    return antiphon_home() / "approvals.db"


def open_store(path: Path | None = None, *, clock: Callable[[], float] = time.time) -> ApprovalStore:
    """The store in a file, None: the default one.

    :raises ApprovalError: `sqlalchemy` is not installed, or the file cannot be used.
    """
    try:
        from antiphon.pipeline.policy.approval_store import ApprovalStore
    except ModuleNotFoundError as error:
        raise ApprovalError(
            f"approvals need the package '{error.name}', which is not installed", hint='pip install "antiphon[memory]"'
        ) from error
    return ApprovalStore(path or default_path(), clock=clock)


def forget_sessions(path: Path | None, sessions: Sequence[str]) -> int:
    """Delete the questions of sessions whose transcripts are erased: their words and their agents' runs are in them.

    :param path: the desk's file; None: the default one. One that is not there has none.
    :returns: how many there were.
    :raises ApprovalError: the file cannot be used.
    """
    if not sessions or not (path or default_path()).exists():
        return 0
    store = open_store(path)
    try:
        return store.forget(sessions)
    finally:
        store.close()


class ApprovalDesk:
    """One for a process; any number of sessions use it. Opens its file with the first question."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        timeout_s: float = 60.0,
        on_timeout: Fallback = "refuse",
        poll_s: float = 0.2,
        callback: ApprovalCallback | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path or default_path()
        self._timeout_s = timeout_s
        self._on_timeout = on_timeout
        self._poll_s = poll_s
        self._callback = callback
        self._clock = clock
        self._opened: ApprovalStore | None = None
        self._lock = threading.Lock()
        self._waiting: dict[str, list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = {}

    def close(self) -> None:
        """Close the file. Open questions stay open, for whoever opens it next."""
        with self._lock:
            store, self._opened = self._opened, None
        if store is not None:
            store.close()

    # ------------------------------------------------------------------------ asking

    async def open(self, request: ApprovalRequest) -> Approval:
        """Write a question down.

        :raises ApprovalError: the file cannot be used.
        """
        return await asyncio.to_thread(
            lambda: self._store.open(request, timeout_s=self._timeout_s, on_timeout=self._on_timeout)
        )

    async def ask(self, request: ApprovalRequest) -> Decision:
        """Open a question, wait for its decision, and take it: see :meth:`settled`."""
        approval = await self.open(request)
        return await self.settled(approval.id)

    async def settled(self, approval_id: str) -> Decision:
        """Wait for the decision, and take it. Of all that wait for one decision, in any process, one gets it.

        :raises ApprovalError: there is none of that id, or the file cannot be used.
        """
        approval = await self.wait(approval_id)
        decision = approval.decision
        assert decision is not None
        if not await asyncio.to_thread(lambda: self._store.claim(approval_id)):
            state = (await self.get(approval_id)).state
            note = "the approval was withdrawn" if state == "cancelled" else "somebody else acts on it"
            return Decision(False, decision.by, note, approval_id, ours=False)
        return decision

    async def wait(self, approval_id: str) -> Approval:
        """Wait until a question is decided, at the latest when its time is over. Does not take the yes."""
        changed = asyncio.Event()
        waiter = (asyncio.get_running_loop(), changed)
        with self._lock:
            self._waiting.setdefault(approval_id, []).append(waiter)
        calling: asyncio.Task[None] | None = None
        try:
            approval = await self.get(approval_id)
            if approval.state == "pending" and self._callback is not None and approval.decides != "voice":
                calling = asyncio.create_task(self._call_back(self._callback, approval))
            while approval.state == "pending":
                wait_s = min(self._poll_s, max(0.001, approval.expires_s - self._clock()))
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await changed.wait()
                changed.clear()
                approval = await self.get(approval_id)
            return approval
        finally:
            if calling is not None:
                calling.cancel()
            with self._lock:
                waiters = self._waiting[approval_id]
                waiters.remove(waiter)
                if not waiters:
                    del self._waiting[approval_id]

    async def _call_back(self, callback: ApprovalCallback, approval: Approval) -> None:
        try:
            answer = callback(approval)
            if inspect.isawaitable(answer):
                answer = await answer
            if answer is not None:
                await self.decide(approval.id, bool(answer), by="callback")
        except AlreadyDecided:
            return
        except Exception as error:  # the application's code: the question stays open for others
            logger.warning("an approval callback failed", extra={"code": type(error).__name__})
            logger.debug("cause of the failed callback", exc_info=error)

    # ------------------------------------------------------------------------ deciding

    async def grant(self, approval_id: str, *, by: str, note: str = "") -> Approval:
        """Say yes at the desk: see :meth:`decide`."""
        return await self.decide(approval_id, True, by=by, note=note)

    async def refuse(self, approval_id: str, *, by: str, note: str = "") -> Approval:
        """Say no at the desk: see :meth:`decide`."""
        return await self.decide(approval_id, False, by=by, note=note)

    async def decide(
        self, approval_id: str, granted: bool, *, by: str, note: str = "", channel: Channel = "desk"
    ) -> Approval:
        """Decide an open question; of any number of deciders exactly one wins.

        :raises UnknownApproval: there is none of that id.
        :raises AlreadyDecided: somebody was first, or its time is over.
        :raises ApprovalError: it is not for this channel to decide, or the file cannot be used.
        """
        try:
            return await asyncio.to_thread(
                lambda: self._store.decide(approval_id, granted, by=by, channel=channel, note=note)
            )
        finally:
            self._tell(approval_id)

    async def cancel_turn(self, session: str, turn: int, *, by: str) -> int:
        """Withdraw what a turn has asked, for instance when the user interrupts it. Also a yes that came just now and
        that nobody has taken; one that was taken stays.

        :returns: how many were withdrawn.
        """
        try:
            return await asyncio.to_thread(lambda: self._store.cancel(by=by, session=session, turn=turn))
        finally:
            with self._lock:
                waiting = list(self._waiting)
            for approval_id in waiting:
                self._tell(approval_id)

    async def withdraw(self, approval_id: str, *, by: str) -> bool:
        """Withdraw one question, or a yes that nobody has taken. Returns whether there was anything to withdraw."""
        try:
            return bool(await asyncio.to_thread(lambda: self._store.cancel(by=by, approval_id=approval_id)))
        finally:
            self._tell(approval_id)

    # ------------------------------------------------------------------------ looking

    async def get(self, approval_id: str) -> Approval:
        """:raises UnknownApproval: there is none of that id."""
        return await asyncio.to_thread(lambda: self._store.get(approval_id))

    async def find(self, *, states: Sequence[State] = (), session: str | None = None) -> list[Approval]:
        """Questions in the order in which they were asked."""
        return await asyncio.to_thread(lambda: self._store.find(states=states, session=session))

    async def unfinished(self, session: str) -> list[Approval]:
        """What a session that was cut off has to go on with: open questions, and decisions that nobody has taken."""
        found = await self.find(states=("pending", "granted", "refused"), session=session)
        return [approval for approval in found if approval.claimed_s is None]

    # ------------------------------------------------------------------------ inside

    @property
    def _store(self) -> ApprovalStore:
        with self._lock:
            if self._opened is None:
                self._opened = open_store(self.path, clock=self._clock)
            return self._opened

    def _tell(self, approval_id: str) -> None:
        """Wake those in this process that wait for it, in whatever thread their loop runs."""
        with self._lock:
            waiters = list(self._waiting.get(approval_id, ()))
        for loop, changed in waiters:
            with suppress(RuntimeError):  # its loop is closed: nobody waits there any more
                loop.call_soon_threadsafe(changed.set)
