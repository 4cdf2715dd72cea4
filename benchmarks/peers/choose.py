"""Peers by the names that a command line gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from antiphon.benchmarks.peers.catalog import default_folder, find_peer
from antiphon.benchmarks.peers.child import ChildPeer
from antiphon.benchmarks.peers.errors import PeerInvalid
from antiphon.benchmarks.peers.install import peer_python
from antiphon.benchmarks.peers.job import PeerJob
from antiphon.benchmarks.peers.realtime import RealtimePeer

Peer = ChildPeer | RealtimePeer


def choose_peers(
    names: Sequence[str], job: Callable[[], PeerJob], *, folder: Path | None = None, allow_network: bool = False
) -> list[Peer]:
    """The peers of those names, in that order, each once; nothing is started yet.

    :param names: "pipecat", "livekit", "agents.voice" (or "agents"), "realtime=URL".
    :param job: makes the models; asked once.
    :param folder: where the peers are installed; None: the default folder.
    :raises PeerMissing: one is not installed.
    :raises PeerInvalid: there is none of a name, or a URL cannot be used.
    """
    shared: PeerJob | None = None
    chosen: list[Peer] = []
    for name in dict.fromkeys(names):
        kind, sign, url = name.partition("=")
        if kind == "realtime":
            if not sign or not url:
                raise PeerInvalid(
                    "a Realtime server needs its URL", hint="--peer realtime=ws://127.0.0.1:8080/v1/realtime"
                )
            shared = shared or job()
            chosen.append(
                RealtimePeer(
                    url, instructions=shared.instructions, language=shared.language, allow_network=allow_network
                )
            )
        else:
            spec = find_peer(name)
            python = peer_python(spec, folder or default_folder())
            shared = shared or job()
            if all(peer.name != spec.name for peer in chosen):
                chosen.append(ChildPeer(spec, python, shared))
    return chosen
