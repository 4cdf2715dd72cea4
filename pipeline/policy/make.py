"""From the sections `policy` and `approvals` to a :class:`Policy`, a desk, and a session's way to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from antiphon.engines.dotted import load_dotted
from antiphon.pipeline.config.policy import ApprovalKeys, CheckConfig, PolicyKeys, TopicOptions
from antiphon.pipeline.errors import PolicyError
from antiphon.pipeline.policy.asking import SessionApprovals, Speak
from antiphon.pipeline.policy.builtin import BUILT_IN
from antiphon.pipeline.policy.checks import BoundCheck, Check, as_check
from antiphon.pipeline.policy.desk import ApprovalDesk, OnChange
from antiphon.pipeline.policy.policy import Policy
from antiphon.pipeline.policy.topic import Load, TopicCheck
from antiphon.pipeline.policy.verdicts import Gate


def make_policy(config: PolicyKeys, import_path: Load = load_dotted) -> Policy:
    """Make every check, once, before the first session.

    :param import_path: imports a dotted path of the user's.
    :raises PolicyError: one cannot be made; the message begins with its key path.
    """
    return Policy(
        transcript=_bind("transcript", "policy.transcript", config.transcript, import_path),
        tool_call=_bind("tool_call", "policy.tool_call", config.tool_call, import_path),
        speech=_bind("speech", "policy.speech.checks", config.speech.checks, import_path),
        turn=_bind("turn", "policy.turn", config.turn, import_path),
        hold=config.speech.hold,
        blocked_line=config.blocked_line,
    )


def make_check(config: CheckConfig, import_path: Load = load_dotted) -> Check:
    """:raises PolicyError: an unknown name, wrong options, a missing package, or a path that leads nowhere."""
    options = config.built_in_options()
    if isinstance(options, TopicOptions):
        return TopicCheck(options, import_path)
    if options is not None:
        return BUILT_IN[config.check][1](options)
    try:
        target = import_path(config.check)
    except ImportError as error:
        raise PolicyError(f"'{config.check}' cannot be imported: {error}") from error
    except Exception as error:  # importing a user's module runs the user's code: it may raise anything
        raise PolicyError(f"importing '{config.check}' failed with {type(error).__name__}: {error}") from error
    return as_check(_with_options(target, config))


def _with_options(target: Any, config: CheckConfig) -> Any:
    options = config.own_options
    if not options:
        return target
    if not isinstance(target, type):
        raise PolicyError(f"'{config.check}' is no class: it takes no options {sorted(options)}")
    try:
        return target(**options)
    except Exception as error:
        raise PolicyError(
            f"'{config.check}' cannot be made with {sorted(options)}: {type(error).__name__}: {error}"
        ) from error


def _bind(gate: Gate, path: str, configs: Sequence[CheckConfig], import_path: Load) -> tuple[BoundCheck, ...]:
    bound = []
    for index, config in enumerate(configs):
        try:
            check = make_check(config, import_path)
        except PolicyError as error:
            raise PolicyError(f"{path}.{index}: {error.message}", hint=error.hint) from error
        on_failure = config.on_failure or ("open" if gate == "turn" else "closed")
        bound.append(BoundCheck(config.check, check, config.timeout_s, on_failure, config.failure_line))
    return tuple(bound)


def make_desk(config: ApprovalKeys, import_path: Load = load_dotted) -> ApprovalDesk:
    """The desk of this process; it opens its file with the first question.

    :raises PolicyError: `approvals.callback` cannot be imported.
    """
    callback = None
    if config.callback is not None:
        try:
            callback = import_path(config.callback)
        except ImportError as error:
            raise PolicyError(f"approvals.callback: '{config.callback}' cannot be imported: {error}") from error
    return ApprovalDesk(
        config.store,
        timeout_s=config.timeout_s,
        on_timeout=config.on_timeout,
        poll_s=config.poll_ms / 1000,
        callback=callback,
    )


def make_approvals(
    config: ApprovalKeys, desk: ApprovalDesk, *, speak: Speak | None = None, on_change: OnChange = lambda approval: None
) -> SessionApprovals:
    """One session's way to the desk.

    :param speak: None: the session has no voice.
    """
    return SessionApprovals(
        desk,
        speak=speak,
        unclear_line=config.unclear_line,
        waiting_line=config.waiting_line,
        on_change=on_change,
    )
