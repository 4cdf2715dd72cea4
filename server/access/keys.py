"""API keys: how they look, how they are kept, and how they are written in the environment. Pure.

A key is `ak_`, ten characters that name it, and 256 random bits. Kept of it are a random salt and a keyed BLAKE2b hash.
A slow password hash would add nothing: it is there to make guessing a *person's* password dear, and a key of 256 random
bits cannot be guessed at any speed; but it would cost every request milliseconds of a core that conversations need, and
give whoever sends wrong keys a lever to take them. The hash is compared in constant time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from antiphon.pipeline.errors import ConfigError
from antiphon.server.access.principal import SCOPES, Scope

VARIABLE = "ANTIPHON_API_KEYS"
"""Environment variable with keys: `NAME:SCOPES:KEY`, several of them separated by white space. SCOPES: names separated
by commas, or `all`. KEY: a key, or what `antiphon keys create --environment` printed in its place (its hash)."""

MIN_SECRET_CHARS = 32
MAX_KEYS = 10_000
MAX_FILE_BYTES = 8_000_000
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"
_OURS = re.compile(r"ak_([a-z2-7]{10})_[A-Za-z0-9_-]{43}")
_HASHED = re.compile(r"blake2b\.([a-z2-7]{10})\.([0-9a-f]{32})\.([0-9a-f]{64})\.([\x21-\x7e]{4})")
_SALT_BYTES, _DIGEST_BYTES = 16, 32

Condition = Literal["valid", "expired", "revoked"]


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of an API key. Times in seconds since 1970."""

    id: str
    name: str
    scopes: frozenset[Scope]
    salt: bytes
    digest: bytes
    last4: str
    """Its last characters, by which its owner knows it again."""
    created_s: int = 0
    expires_s: int | None = None
    revoked_s: int | None = None
    by: str = ""
    """Who made it."""

    def condition(self, now_s: float) -> Condition:
        if self.revoked_s is not None:
            return "revoked"
        return "expired" if self.expires_s is not None and now_s >= self.expires_s else "valid"

    def opened_by(self, token: str) -> bool:
        """Whether this is the key. Takes as long when it is not."""
        return hmac.compare_digest(self.digest, _digest(self.salt, token))


def _digest(salt: bytes, token: str) -> bytes:
    data = token.encode("utf-8", errors="surrogatepass")
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES, key=salt, person=b"antiphon-api-key").digest()


def new_key(
    name: str, scopes: Iterable[Scope], *, now_s: float, expires_s: float | None = None, by: str = ""
) -> tuple[str, Key]:
    """A new key: itself, to be shown once, and what is kept of it."""
    key_id = base64.b32encode(secrets.token_bytes(7)).decode("ascii").lower()[:10]
    token = f"ak_{key_id}_{secrets.token_urlsafe(32)}"
    salt = secrets.token_bytes(_SALT_BYTES)
    expires = None if expires_s is None else int(expires_s)
    digest = _digest(salt, token)
    return token, Key(key_id, name, frozenset(scopes), salt, digest, token[-4:], int(now_s), expires, by=by)


def is_name(text: str) -> bool:
    """Whether a key may be called so."""
    return re.fullmatch(_NAME, text) is not None


def id_in(token: str) -> str | None:
    """Which key this claims to be; None: none of ours."""
    match = _OURS.fullmatch(token)
    return match[1] if match else None


# ------------------------------------------------------------------------------------------ the file


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: Annotated[str, Field(pattern=r"^[a-z2-7]{10}$")]
    name: Annotated[str, Field(pattern=_NAME)]
    scopes: list[Scope] = Field(min_length=1)
    salt: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    last4: Annotated[str, Field(pattern=r"^[\x21-\x7e]{4}$")]
    created: Annotated[int, Field(ge=0, lt=2**40)]
    expires: Annotated[int, Field(ge=0, lt=2**40)] | None = None
    revoked: Annotated[int, Field(ge=0, lt=2**40)] | None = None
    by: Annotated[str, Field(max_length=200)] = ""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    version: Literal[1]
    keys: list[_Entry] = Field(max_length=MAX_KEYS)

    @field_validator("keys")
    @classmethod
    def _no_id_twice(cls, keys: list[_Entry]) -> list[_Entry]:
        ids = [key.id for key in keys]
        if len(set(ids)) != len(ids):
            raise ValueError("two keys have the same id")
        return keys


def parse_file(text: str, *, file: str = "") -> tuple[Key, ...]:
    """The keys of a file's text.

    :raises ConfigError: it is no file of keys; the message names the place, and nothing that stands there.
    """
    try:
        found = _File.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        what = (
            "is no JSON" if first["type"] == "json_invalid" else f"{place}: {first['msg']}" if place else first["msg"]
        )
        hint = "antiphon keys create makes such a file; move this one away, or restore it from a backup"
        raise ConfigError(f"the file of API keys cannot be used: {what}", file=file, hint=hint) from None
    return tuple(
        Key(
            one.id,
            one.name,
            frozenset(one.scopes),
            bytes.fromhex(one.salt),
            bytes.fromhex(one.hash),
            one.last4,
            one.created,
            one.expires,
            one.revoked,
            one.by,
        )
        for one in found.keys
    )


def file_data(keys: Sequence[Key]) -> dict[str, Any]:
    """What :func:`parse_file` reads, before it is JSON."""
    return {"version": 1, "keys": [{**shown(key), "salt": key.salt.hex(), "hash": key.digest.hex()} for key in keys]}


def shown(key: Key) -> dict[str, Any]:
    """What may be seen of a key, JSON-ready."""
    return {
        "id": key.id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "last4": key.last4,
        "created": key.created_s,
        "expires": key.expires_s,
        "revoked": key.revoked_s,
        "by": key.by,
    }


# ------------------------------------------------------------------------------------------ the environment


def environment_entry(key: Key) -> str:
    """A key's hash as an entry of :data:`VARIABLE`."""
    scopes = "all" if key.scopes == SCOPES else ",".join(sorted(key.scopes))
    return f"{key.name}:{scopes}:blake2b.{key.id}.{key.salt.hex()}.{key.digest.hex()}.{key.last4}"


def parse_environment(environ: Mapping[str, str]) -> tuple[Key, ...]:
    """The keys of :data:`VARIABLE`.

    :raises ConfigError: an entry cannot be used; the message counts it, and names nothing of it but its name.
    """
    keys: dict[str, Key] = {}
    for number, entry in enumerate(environ.get(VARIABLE, "").split(), 1):
        key = _entry(entry, number)
        if key.id in keys:
            raise _wrong(number, f"is there twice ('{key.name}')")
        keys[key.id] = key
    return tuple(keys.values())


def _entry(entry: str, number: int) -> Key:
    parts = entry.split(":", 2)
    if len(parts) != 3:
        raise _wrong(number, "has not the form NAME:SCOPES:KEY")
    name, written, secret = parts
    if not is_name(name):
        raise _wrong(number, "has a name with other characters than A-Z a-z 0-9 . _ @ -")
    scopes = SCOPES if written == "all" else frozenset(written.split(","))
    if not scopes <= SCOPES:
        raise _wrong(number, f"('{name}') has a scope that is none of: all, {', '.join(sorted(SCOPES))}")
    known: frozenset[Scope] = frozenset(one for one in SCOPES if one in scopes)
    if match := _HASHED.fullmatch(secret):
        return Key(match[1], name, known, bytes.fromhex(match[2]), bytes.fromhex(match[3]), match[4])
    if not _is_long_and_random(secret):
        raise _wrong(
            number,
            f"('{name}') has a key that could be guessed: at least {MIN_SECRET_CHARS} random characters without spaces "
            "are needed; antiphon keys create makes one",
        )
    salt = secrets.token_bytes(_SALT_BYTES)
    key_id = id_in(secret) or f"env-{name}"
    return Key(key_id, name, known, salt, _digest(salt, secret), secret[-4:])


def _is_long_and_random(secret: str) -> bool:
    """Enough to tell a random key from a pass phrase or from a placeholder; no proof."""
    return (
        len(secret) >= MIN_SECRET_CHARS and len(set(secret)) >= 10 and re.fullmatch(r"[\x21-\x7e]+", secret) is not None
    )


def _wrong(number: int, what: str) -> ConfigError:
    return ConfigError(f"{VARIABLE}: entry {number} {what}", hint="The form is NAME:SCOPES:KEY; see docs/security.md.")
