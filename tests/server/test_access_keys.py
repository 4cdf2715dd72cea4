"""API keys: how they are made, kept, written and read. No sockets."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import stat
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from antiphon.pipeline.cli import app
from antiphon.pipeline.config.model import ServerConfig
from antiphon.pipeline.errors import ConfigError
from antiphon.server.access import keys as keys_module
from antiphon.server.access.access import Access
from antiphon.server.access.key_file import add_key, change_keys, keys_path, read_keys, revoke_key
from antiphon.server.access.keyring import Keyring
from antiphon.server.access.keys import (
    VARIABLE,
    Key,
    environment_entry,
    file_data,
    id_in,
    new_key,
    parse_environment,
    parse_file,
    shown,
)
from antiphon.server.access.principal import SCOPES, Principal, Scope
from antiphon.server.sockets import _TimeLimit

TIMES = st.integers(0, 2**40 - 1)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", fullmatch=True)
SOME_SCOPES = st.frozensets(st.sampled_from(sorted(SCOPES)), min_size=1)
KEYS = st.builds(
    Key,
    id=st.from_regex(r"[a-z2-7]{10}", fullmatch=True),
    name=NAMES,
    scopes=SOME_SCOPES,
    salt=st.binary(min_size=16, max_size=16),
    digest=st.binary(min_size=32, max_size=32),
    last4=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=4, max_size=4),
    created_s=TIMES,
    expires_s=st.none() | TIMES,
    revoked_s=st.none() | TIMES,
    by=st.text(st.characters(codec="utf-8"), max_size=200),
)


def made(name: str = "desk", scopes: frozenset[Scope] = SCOPES, **more: Any) -> tuple[str, Key]:
    return new_key(name, scopes, now_s=1000, **more)


# ------------------------------------------------------------------------------------------ a key


def test_a_key_is_256_random_bits_under_a_name() -> None:
    tokens = {made()[0] for _ in range(100)}
    assert len(tokens) == 100
    for token in tokens:
        prefix, key_id, secret = token.split("_", 2)
        assert (prefix, len(key_id), len(secret)) == ("ak", 10, 43)
        assert id_in(token) == key_id


def test_only_the_key_opens_and_nothing_of_it_is_kept() -> None:
    token, key = made()
    assert key.opened_by(token)
    assert key.last4 == token[-4:]
    secret = token.split("_", 2)[2]
    assert secret not in json.dumps(file_data([key])) and secret[:20] not in repr(key)
    for other in (token[:-1], token + "x", token.upper(), "", "\x00", "\ud800", made()[0]):
        assert not key.opened_by(other)


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []
    compare_digest = hmac.compare_digest

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((len(left), len(right)))
        return compare_digest(left, right)

    monkeypatch.setattr(keys_module.hmac, "compare_digest", compare)
    token, key = made()
    keyring = Keyring(Path("/nowhere/keys.json"), {VARIABLE: environment_entry(key)})
    for shown_key in (token, token[:-1] + ("a" if token[-1] != "a" else "b"), made()[0]):  # right, wrong, unknown
        compared.clear()
        assert (keyring.find(shown_key) is not None) == (shown_key == token)
        assert compared == [(32, 32)]


def test_two_keys_of_the_same_secret_have_different_hashes() -> None:
    """The salt: who has the file cannot see which keys are the same, and no table of hashes is of use."""
    entries = [f"one:all:{'kQ3x9ZpL7mN2vB8c' * 3}", f"two:all:{'kQ3x9ZpL7mN2vB8c' * 3}"]
    first, second = parse_environment({VARIABLE: " ".join(entries)})
    assert first.digest != second.digest and first.salt != second.salt
    plain = hashlib.blake2b(entries[0].split(":")[2].encode(), digest_size=32).digest()
    assert plain not in (first.digest, second.digest)


def test_conditions_of_a_key() -> None:
    _, key = made(expires_s=2000)
    assert [key.condition(now) for now in (0, 1999.9, 2000, 1e12)] == ["valid", "valid", "expired", "expired"]
    assert replace(key, revoked_s=1).condition(0) == "revoked"
    assert replace(key, expires_s=None).condition(1e12) == "valid"


# ------------------------------------------------------------------------------------------ the file


@given(st.lists(KEYS, max_size=5, unique_by=lambda key: key.id))
def test_what_is_written_is_read(keys: list[Key]) -> None:
    assert parse_file(json.dumps(file_data(keys))) == tuple(keys)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(st.text(max_size=200) | JSON.map(json.dumps))
def test_any_other_text_is_refused_with_one_kind_of_error(text: str) -> None:
    with pytest.raises(ConfigError, match="the file of API keys cannot be used"):
        parse_file(text, file="keys.json")


@given(KEYS, st.sampled_from(["id", "name", "scopes", "salt", "hash", "last4", "created", "expires", "revoked"]), JSON)
def test_a_changed_field_is_read_or_refused_and_never_quoted(key: Key, field: str, value: Any) -> None:
    data = file_data([key])
    data["keys"][0][field] = value
    try:
        (read,) = parse_file(json.dumps(data))
    except ConfigError as error:
        assert f"keys.0.{field}" in str(error)
        assert not isinstance(value, str) or len(value) < 6 or value not in str(error)
    else:
        assert file_data([read])["keys"][0][field] in (value, sorted(value) if isinstance(value, list) else value)


def test_keys_with_one_id_are_refused() -> None:
    _, key = made()
    with pytest.raises(ConfigError, match="two keys have the same id"):
        parse_file(json.dumps(file_data([key, key])))


def test_the_file_is_the_owners_alone_and_may_be_nobody_elses(tmp_path: Path) -> None:
    path = tmp_path / "made" / "keys.json"
    _, key = made()
    add_key(path, key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_keys(path) == (key,)
    for mode in (0o400, 0o600, 0o440, 0o640):
        path.chmod(mode)
        assert read_keys(path) == (key,)
    for mode in (0o620, 0o604, 0o602, 0o644, 0o666, 0o777):
        path.chmod(mode)
        with pytest.raises(ConfigError, match=f"others than its owner.*{mode:04o}") as caught:
            read_keys(path)
        assert caught.value.hint == f"chmod 600 {path}"


@pytest.mark.skipif("os.geteuid() != 0")
def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    add_key(path, made()[1])
    os.chown(path, 4321, -1)
    with pytest.raises(ConfigError, match="belongs to somebody else"):
        read_keys(path)


def test_what_is_no_file_of_keys_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="cannot be used"):
        read_keys(tmp_path / "folder")
    os.mkfifo(tmp_path / "pipe", 0o600)
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").open("w").close())
    writer.start()
    with pytest.raises(ConfigError, match="no regular file"):
        read_keys(tmp_path / "pipe")
    writer.join()
    path = tmp_path / "keys.json"
    for content, said in ((b"\xff\xfe", "is no text"), (b"x" * 8_000_001, "longer than")):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(ConfigError, match=said):
            read_keys(path)
    assert read_keys(tmp_path / "none.json") == ()


def test_a_change_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    _, key = made()
    add_key(path, key)
    before = path.read_bytes()
    with pytest.raises(RuntimeError):
        change_keys(path, lambda keys: (_ for _ in ()).throw(RuntimeError()))
    with pytest.raises(ConfigError, match="there is a key of the name 'desk'"):
        add_key(path, made()[1])
    with pytest.raises(ConfigError, match="no key that could be revoked"):
        revoke_key(path, "other", now_s=1)
    assert path.read_bytes() == before
    assert sorted(one.name for one in tmp_path.iterdir()) in (["keys.json"], ["keys.json", "keys.json.lock"])


def test_changes_at_once_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    threads = [threading.Thread(target=add_key, args=(path, made(f"key{n}")[1])) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key.name for key in read_keys(path)) == sorted(f"key{n}" for n in range(12))


def test_a_name_is_free_again_once_its_key_is_revoked(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    add_key(path, made()[1])
    first = revoke_key(path, "desk", now_s=5)
    add_key(path, made()[1])
    assert [key.revoked_s for key in read_keys(path)] == [5, None]
    second = revoke_key(path, read_keys(path)[1].id, now_s=6)
    assert first.id != second.id


# ------------------------------------------------------------------------------------------ the environment


def test_keys_of_the_environment() -> None:
    token, key = made("ops", frozenset({"metrics", "admin"}))
    plain_token, _ = made()
    own = "s3cr3t-" + "kQ3x9ZpL7mN2vB8c" * 2
    text = f"{environment_entry(key)}\n\tplain:realtime,chat:{plain_token} own:all:{own}"
    keyring = Keyring(Path("/nowhere/keys.json"), {VARIABLE: text})
    assert keyring.keyed and len(keyring) == 3
    found = [keyring.find(one) for one in (token, plain_token, own)]
    assert [(one.name, sorted(one.scopes)) if one else None for one in found] == [
        ("ops", ["admin", "metrics"]),
        ("plain", ["chat", "realtime"]),
        ("own", sorted(SCOPES)),
    ]
    assert keyring.find(own + "x") is None and keyring.find("") is None


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("desk", "entry 1 has not the form NAME:SCOPES:KEY"),
        ("desk:all", "has not the form"),
        ("d/k:all:" + "kQ3x9ZpL7mN2vB8c" * 2, "has a name with other characters"),
        ("desk:everything:" + "kQ3x9ZpL7mN2vB8c" * 2, "has a scope that is none of: all, admin"),
        ("desk::" + "kQ3x9ZpL7mN2vB8c" * 2, "has a scope that is none of"),
        ("desk:all:short-and-sweet", "could be guessed: at least 32 random characters"),
        ("desk:all:" + "a" * 64, "could be guessed"),
        ("desk:all:blake2b.xyz", "could be guessed"),
        (" ".join(["desk:all:" + "kQ3x9ZpL7mN2vB8c" * 2] * 2), r"entry 2 is there twice \('desk'\)"),
    ],
)
def test_a_wrong_entry_is_told_without_its_secret(entry: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse_environment({VARIABLE: entry})
    secret = entry.split(":", 2)[-1]
    assert ":" not in entry or secret not in str(caught.value)


@given(st.text(max_size=120))
def test_any_environment_is_read_or_refused(text: str) -> None:
    try:
        parse_environment({VARIABLE: text})
    except ConfigError as error:
        assert str(error).startswith(VARIABLE)


# ------------------------------------------------------------------------------------------ while the server runs


def test_a_keyring_takes_changes_up_and_keeps_what_it_has_when_it_cannot(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.json"

    async def main() -> None:
        keyring = Keyring(path, {})
        assert not keyring.keyed and await keyring.refresh() is None
        token, key = made()
        add_key(path, key)
        change = await keyring.refresh()
        assert change is not None and (change.created, change.revoked) == ((key,), ())
        assert keyring.keyed and keyring.find(token) == key and keyring.is_valid(key.id)
        assert await keyring.refresh() is None

        path.write_text("{broken")
        assert await keyring.refresh() is None and await keyring.refresh() is None
        assert keyring.find(token) == key
        assert [one.message for one in caplog.records] == [
            "the API keys were not read again; those known stay in force"
        ]
        path.unlink()
        change = await keyring.refresh()
        assert change is not None and change.revoked == (key,)
        assert keyring.keyed, "a file that is gone must not open the server"
        assert keyring.find(token) is None and not keyring.is_valid(key.id)

    asyncio.run(main())


def test_a_file_that_cannot_be_looked_at_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "keys"

    async def main() -> None:
        keyring = Keyring(folder / "keys.json", {})
        for _ in range(2):
            folder.write_text("no folder")
            for _ in range(3):
                assert await keyring.refresh() is None
            folder.unlink()
            assert await keyring.refresh() is None

    asyncio.run(main())
    assert len(caplog.records) == 2, "once each time"


def test_all_conversations_of_a_revoked_key_are_ended_whatever_becomes_of_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, key = made()
    add_key(tmp_path / "keys.json", key)
    ended: list[str] = []

    def broken() -> None:
        ended.append(key.id)
        raise RuntimeError("it cannot be ended")

    async def main() -> None:
        access = Access(ServerConfig(keys_file=tmp_path / "keys.json"))
        principal = Principal(key.id, SCOPES)
        with access.holding(principal, broken), access.holding(principal, broken):
            revoke_key(access.keyring.path, key.id, now_s=2000)
            await access.refresh()

    asyncio.run(main())
    assert len(ended) == 2
    told = {one.message for one in caplog.records if one.name != "antiphon.audit"}
    assert told == {"a conversation was not ended when its key was revoked"}


def test_a_key_may_be_revoked_in_the_moment_in_which_the_time_is_over() -> None:
    async def main() -> None:
        limit = _TimeLimit(0.0)
        async with limit.running():
            try:
                await asyncio.sleep(1)
            finally:
                limit.revoke()

    with pytest.raises(TimeoutError):
        asyncio.run(main())


# ------------------------------------------------------------------------------------------ the command


def antiphon(*words: str, home: Path) -> Result:
    return CliRunner().invoke(app, ["keys", *words], env={"ANTIPHON_HOME": str(home), "COLUMNS": "200"})


def test_the_command_makes_lists_and_revokes(tmp_path: Path) -> None:
    result = antiphon("create", "desk", "--scope", "realtime", "--scope", "audio", "--expires", "30d", home=tmp_path)
    assert result.exit_code == 0, result.output
    token = result.stdout.strip()
    assert id_in(token), "the key alone is on standard output"
    assert "not shown again" in result.stderr and token not in result.stderr
    (key,) = read_keys(tmp_path / "keys.json")
    assert key.opened_by(token) and key.expires_s == key.created_s + 30 * 86400

    text = antiphon("list", home=tmp_path).stdout
    assert "desk" in text and key.id in text and f"...{token[-4:]}" in text and token not in text
    (listed,) = json.loads(antiphon("list", "--json", home=tmp_path).stdout)
    assert listed == {**shown(key), "state": "valid"}

    assert antiphon("revoke", "desk", home=tmp_path).stdout == f"desk ({key.id}): revoked\n"
    assert antiphon("list", home=tmp_path).stdout.startswith("There are no keys.")
    assert json.loads(antiphon("list", "--all", "--json", home=tmp_path).stdout)[0]["state"] == "revoked"
    assert "revoked" in antiphon("list", "--all", home=tmp_path).stdout
    again = antiphon("revoke", "desk", home=tmp_path)
    assert again.exit_code == 2 and "no key that could be revoked" in again.stderr


def test_the_command_in_json_and_for_the_environment(tmp_path: Path) -> None:
    made_key = json.loads(antiphon("create", "ci", "--json", home=tmp_path).stdout)
    assert sorted(made_key["scopes"]) == ["audio", "chat", "realtime"]
    assert made_key["file"] == str(tmp_path / "keys.json")
    result = antiphon("create", "pod", "--scope", "all", "--environment", home=tmp_path)
    token, entry = result.stdout.strip(), result.stderr.splitlines()[1]
    (key,) = parse_environment({VARIABLE: entry})
    assert key.opened_by(token) and key.scopes == SCOPES and token not in entry
    assert [one.name for one in read_keys(tmp_path / "keys.json")] == ["ci"], "nothing was stored"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["create", "no spaces"], "at most 64 of"),
        (["create", "desk", "--scope", "everything"], "'everything' is no scope"),
        (["create", "desk", "--expires", "soon"], "is no length of time"),
        (["revoke", "desk"], "no key that could be revoked"),
    ],
)
def test_the_command_says_what_is_wrong(words: list[str], said: str, tmp_path: Path) -> None:
    result = antiphon(*words, home=tmp_path)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "keys.json").exists()


def test_where_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path))
    assert keys_path(None) == tmp_path / "keys.json"
    assert keys_path(Path("~/k.json")) == Path.home() / "k.json"
    other = tmp_path / "other.json"
    assert antiphon("create", "desk", "--file", str(other), home=tmp_path).exit_code == 0
    assert len(read_keys(other)) == 1 and not (tmp_path / "keys.json").exists()
