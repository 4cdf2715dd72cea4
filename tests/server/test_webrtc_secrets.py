"""Ephemeral keys: how long they live, whose they are, how many there may be."""

from __future__ import annotations

import pytest

from antiphon.server.access.principal import ANYONE, Principal
from antiphon.server.realtime import secrets as ephemeral
from antiphon.server.realtime.secrets import EphemeralKeys


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def keys() -> tuple[EphemeralKeys, Clock]:
    clock = Clock()
    return EphemeralKeys(clock=clock, wall_clock=lambda: 1_700_000_000.9), clock


def test_a_key_lives_as_long_as_was_asked_and_may_be_used_again_until_then() -> None:
    made, clock = keys()
    key = made.make(ANYONE, life_s=60, session={"instructions": "Be brief."})
    assert key.value.startswith("ek_") and len(key.value) > 40
    assert key.expires_at == 1_700_000_060
    for elapsed_s in (0, 30, 59.9):
        clock.now_s = 1000 + elapsed_s
        holder = made.resolve(key.value)
        assert holder is not None and holder.session == {"instructions": "Be brief."}
    clock.now_s = 1060
    assert made.resolve(key.value) is None


def test_a_key_is_for_conversations_in_the_name_of_who_made_it() -> None:
    made, _ = keys()
    parent = Principal("desk", frozenset({"realtime", "audio", "admin"}))
    holder = made.resolve(made.make(parent, session={}).value)
    assert holder is not None and holder.ephemeral
    assert holder.key_id == "desk" and holder.scopes == {"realtime"}


def test_a_key_gives_no_more_than_its_maker_has() -> None:
    made, _ = keys()
    holder = made.resolve(made.make(Principal("speech", frozenset({"audio"})), session={}).value)
    assert holder is not None and holder.scopes == frozenset()


@pytest.mark.parametrize("guess", ["", "ek_", "ek_" + "A" * 43, "sk-other", "ek_\u00e4\u00f6"])
def test_other_keys_are_nobodys(guess: str) -> None:
    made, _ = keys()
    made.make(ANYONE, session={})
    assert made.resolve(guess) is None


def test_the_key_itself_is_not_kept() -> None:
    made, _ = keys()
    value = made.make(ANYONE, session={}).value
    assert value not in repr(vars(made)) and value[3:] not in repr(vars(made))


def test_the_settings_are_those_of_the_moment() -> None:
    made, _ = keys()
    session = {"instructions": "Be brief."}
    value = made.make(ANYONE, session=session).value
    session["instructions"] = "Be long."
    holder = made.resolve(value)
    assert holder is not None and holder.session == {"instructions": "Be brief."}


def test_each_holder_may_have_so_many_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ephemeral, "MAX_KEYS_EACH", 3)
    made, _ = keys()
    other = made.make(Principal("other", frozenset({"realtime"})), session={}).value
    mine = [made.make(ANYONE, session={}).value for _ in range(5)]
    assert [made.resolve(value) is not None for value in mine] == [False, False, True, True, True]
    assert made.resolve(other) is not None


def test_there_are_so_many_altogether(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ephemeral, "MAX_KEYS", 4)
    made, _ = keys()
    values = [made.make(Principal(f"key{n}", frozenset({"realtime"})), session={}).value for n in range(6)]
    assert len(made) == 4
    assert [made.resolve(value) is not None for value in values] == [False, False, True, True, True, True]


def test_those_that_ran_out_make_room() -> None:
    made, clock = keys()
    for _ in range(10):
        made.make(ANYONE, life_s=10, session={})
    clock.now_s += 11
    made.make(ANYONE, life_s=10, session={})
    assert len(made) == 1


def test_they_end_with_the_key_that_they_were_made_with() -> None:
    made, _ = keys()
    desk, bank = (Principal(name, frozenset({"realtime"})) for name in ("desk", "bank"))
    first, second = made.make(desk, session={}).value, made.make(bank, session={}).value
    made.forget("desk")
    assert made.resolve(first) is None and made.resolve(second) is not None
