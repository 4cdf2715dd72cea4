"""What a session's answers are made with, from asking the workflow to what is remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from antiphon.engines.host import Priority
from antiphon.pipeline.consulting import Consulting
from antiphon.pipeline.makings import Makings
from antiphon.pipeline.own_lines import OwnLines
from antiphon.pipeline.remembering import Remembering
from antiphon.pipeline.reporting import Reporting
from antiphon.pipeline.run import Run
from antiphon.pipeline.telling import Teller
from antiphon.pipeline.voicing import Voicing


@dataclass(frozen=True, slots=True)
class Means:
    """One of each per session. Whoever carries out runs works with them."""

    consulting: Consulting
    voicing: Voicing
    reporting: Reporting
    remembering: Remembering
    lines: OwnLines


def make_means(
    makings: Makings,
    teller: Teller,
    *,
    seal: Callable[[int], None],
    pass_on: Callable[[Run], None] = lambda run: None,
    priority: Priority = Priority.COMMITTED,
) -> Means:
    """
    :param seal: told of a turn that can no longer be taken back.
    :param pass_on: told of an answer that is complete where the transport `queues`: the next one may be begun.
    :param priority: of what engines are asked for a turn that is sure.
    """
    consulting = Consulting(makings, seal=seal)
    voicing = Voicing(makings, priority=priority, before_sound=consulting.before_sound)
    reporting = Reporting(makings.session_id, teller, front=makings.front, seal=seal)
    remembering = Remembering(makings, seal=seal, pass_on=pass_on)
    lines = OwnLines(makings, voicing, reporting)
    return Means(consulting, voicing, reporting, remembering, lines)
