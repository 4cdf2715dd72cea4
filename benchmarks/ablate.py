"""Each lever for latency switched off by itself: what is it worth?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from antiphon.benchmarks import paired
from antiphon.benchmarks.paired import Estimate
from antiphon.benchmarks.records import ConfigResult
from antiphon.benchmarks.variants import REPLAYS_OFF, Variant, fixed_settings, without_replays
from antiphon.engines.protocols import STAGES
from antiphon.pipeline.config import Config, EngineBlock, load_config
from antiphon.pipeline.errors import ConfigError

ALL_ON = "all on"


@dataclass(frozen=True, slots=True)
class Lever:
    """One thing that makes answers come sooner, and how to do without it."""

    name: str
    what: str
    key: str
    """Section or stage, and key."""
    off: str
    """The value without it, as YAML text."""
    speculates: bool = False
    """It has no effect where speculation is off."""


LEVERS = (
    Lever("speculation", "the answer is begun at the first silence", "speculation.enabled", "false"),
    Lever("hearing_ahead", "speech is transcribed while it goes on", "speculation.rerun_ms", "0", speculates=True),
    Lever("prefill", "likely words are evaluated by the LLM ahead", "speculation.prefill", "false", speculates=True),
    Lever("window", "Whisper's encoder sees 8 s, not 30", "stt.window_floor_s", "30"),
    Lever("slices", "the voice's graph is cut, and decoded in slices", "tts.slice_frames", "[4000]"),
    Lever("first_clause", "the first clause is spoken, not the first sentence", "text.first_clause", "false"),
    Lever("llm_threads", "the LLM takes more threads while nobody else works", "llm.threads", "1"),
    Lever("adaptation", "the wait grows with the speaker's own pauses", "turn.adapt", "false"),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured: the first variant has all levers on, each further one has the lever of the same place off."""

    variants: tuple[Variant, ...]
    levers: tuple[Lever, ...]
    left_out: tuple[tuple[str, str], ...]
    """Levers that the configuration does not have, and why."""


def choose(names: Sequence[str]) -> tuple[Lever, ...]:
    """Levers by name; none named: all.

    :raises ConfigError: there is no such lever.
    """
    known = {lever.name: lever for lever in LEVERS}
    if wrong := [name for name in names if name not in known]:
        raise ConfigError(f"there is no lever '{wrong[0]}'", file="--levers", hint=f"levers: {', '.join(known)}")
    return tuple(lever for lever in LEVERS if not names or lever.name in names)


def plan(name: str, source: str, levers: Sequence[Lever] = LEVERS, overrides: Sequence[str] = ()) -> Plan:
    """
    :param name: the configuration's file name; `source`: where it is.
    :raises ConfigError: the configuration is not valid, or it has none of the levers.
    """
    quiet = without_replays(load_config(source, overrides=overrides))
    fixed, notes = fixed_settings(overrides), (REPLAYS_OFF,) if quiet else ()
    overrides = [*quiet, *overrides]
    base = load_config(source, overrides=overrides)
    variants, kept, left_out = [Variant(name, base, {}, fixed, notes)], [], []
    for lever in levers:
        keys = _keys(lever, base)
        settings = dict.fromkeys(keys, lever.off)
        changed = load_config(source, overrides=[*overrides, *(f"{key}={lever.off}" for key in keys)])
        why = _why_not(lever, base, changed)
        if why:
            left_out.append((lever.name, why))
        else:
            kept.append(lever)
            variants.append(Variant(name, changed, settings, fixed, notes))
    if not kept:
        why = "; ".join(f"{name}: {why}" for name, why in left_out)
        raise ConfigError(f"none of the levers can be switched off ({why})", file=name)
    return Plan(tuple(variants), tuple(kept), tuple(left_out))


@dataclass(frozen=True, slots=True)
class Effect:
    """By how many ms answers come later without a lever, over the turns that both answered, in pairs.

    The median is what a turn feels; a lever that helps only the slow turns shows in the mean alone.
    """

    median: Estimate | None
    mean: Estimate | None

    @property
    def verdict(self) -> str:
        """What the intervals say."""
        known = [one.interval for one in (self.median, self.mean) if one is not None and one.interval is not None]
        if not known:
            return "too few clips to tell"
        helps, harms = any(low > 0 for low, _ in known), any(high < 0 for _, high in known)
        return "earns its place" if helps and not harms else "harms" if harms and not helps else "no effect shown"


def effect(base: ConfigResult, without: ConfigResult) -> Effect:
    """What is lost without a lever."""
    pairs = paired.by_clip((x.clip, x.ttfa_ms, y.ttfa_ms) for x, y in paired.same_turns(base, without))
    return Effect(paired.difference(pairs), paired.mean_difference(pairs))


def ablation_block(
    config: str, plan: Plan, found: Mapping[int, tuple[int, ConfigResult]], order: str
) -> dict[str, Any] | None:
    """`ablation` of `result.json`; None: the variant with all levers on was not measured.

    :param found: by variant: the index of its result in `configs`, and the result.
    """
    if 0 not in found:
        return None
    index, base = found[0]
    levers: list[dict[str, Any]] = [{"lever": ALL_ON, "result": index}]
    for at, lever in enumerate(plan.levers, 1):
        if at in found:
            index, result = found[at]
            lost = effect(base, result)
            levers.append(
                {
                    "lever": lever.name,
                    "result": index,
                    "what": lever.what,
                    "off": dict(plan.variants[at].settings),
                    "ttfa_later_ms": asdict(lost),
                    "verdict": lost.verdict,
                }
            )
    left_out = [{"lever": name, "why": why} for name, why in plan.left_out]
    return {"config": config, "levers": levers, "left_out": left_out, "order": order}


# ------------------------------------------------------------------------------------------ inside


def _blocks(stage: str, config: Config) -> tuple[EngineBlock, ...]:
    found = getattr(config, stage)
    return found if isinstance(found, tuple) else (found,)


def _keys(lever: Lever, config: Config) -> list[str]:
    """The key paths that switch a lever off; none: no engine of this configuration has it."""
    section, _, name = lever.key.partition(".")
    if section not in STAGES:
        return [lever.key]
    blocks = _blocks(section, config)
    with_it = [at for at, block in enumerate(blocks) if name in type(block.options).model_fields]
    return [f"{section}.{at}.{name}" if len(blocks) > 1 else lever.key for at in with_it]


def _why_not(lever: Lever, base: Config, changed: Config) -> str:
    """Why a lever cannot be switched off here; empty: it can."""
    section, _, name = lever.key.partition(".")
    if not _keys(lever, base):
        engines = " and ".join(block.engine for block in _blocks(section, base))
        return f"{section} is {engines}, which has no '{name}'"
    if _values(lever, base) == _values(lever, changed):
        return f"{lever.key} is {lever.off} already"
    if lever.speculates and not base.speculation.enabled:
        return "speculation is off"
    return ""


def _values(lever: Lever, config: Config) -> list[Any]:
    section, _, name = lever.key.partition(".")
    if section not in STAGES:
        return [getattr(getattr(config, section), name)]
    return [getattr(block.options, name, None) for block in _blocks(section, config)]
