"""Encrypted recordings: a stream of sealed segments that can be written as it comes and read as far as it got.

    file    = "ANTIPHON" 0x01 | key id (8) | salt (32) | segments
    segment = length (4, big-endian) | flags (1) | AES-256-GCM(segment key, nonce = number of the segment, plaintext)

Each file has a key of its own: HKDF-SHA256 of the master key and the file's random salt; so segments can be counted for
nonces. The header, the number and the flags of a segment are authenticated: segments cannot be changed, left out, moved
to another place or into another file. The last one is flagged: an end that is missing is noticed.

Encryption is the library `cryptography`'s.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from antiphon.engines.errors import EngineUnavailable
from antiphon.pipeline.transcript.errors import RecordingDamaged, TranscriptKeyError

MAGIC = b"ANTIPHON\x01"
KEY_VARIABLE = "ANTIPHON_RECORDING_KEY"
_ID_BYTES, _SALT_BYTES = 8, 32
_LAST = 1
_MAX_SEGMENT = 64 << 20


class RecordingKey:
    """The master key, which never shows itself."""

    def __init__(self, key: bytes) -> None:
        """:raises TranscriptKeyError: it is not 32 bytes."""
        if len(key) != 32:
            raise TranscriptKeyError(f"a recording key has 32 bytes, not {len(key)}", hint=_HOW)
        self._key = key
        self.id = hashlib.sha256(b"antiphon recording key id" + key).digest()[:_ID_BYTES]
        """Tells keys apart; tells nothing of the key."""

    def __repr__(self) -> str:
        return f"RecordingKey(id={self.id.hex()})"

    @classmethod
    def load(cls, key_file: Path | None = None) -> RecordingKey:
        """From a file, or from the environment variable :data:`KEY_VARIABLE`: 32 bytes in base64.

        :raises TranscriptKeyError: there is none, or it is none. Never shows what was there.
        """
        where = f"the environment variable {KEY_VARIABLE}" if key_file is None else str(key_file)
        if key_file is None:
            text = os.environ.get(KEY_VARIABLE, "")
            if not text:
                raise TranscriptKeyError("recordings are to be encrypted, and there is no key", hint=_HOW)
        else:
            try:
                text = key_file.expanduser().read_text("ascii", "replace")
            except OSError as error:
                raise TranscriptKeyError(f"{where}: the key cannot be read: {error.strerror}", hint=_HOW) from error
        try:
            return cls(base64.b64decode(text.strip().translate(_URL_SAFE), validate=True))
        except (binascii.Error, TranscriptKeyError):
            raise TranscriptKeyError(f"{where} is no key of 32 bytes in base64", hint=_HOW) from None

    def cipher(self, salt: bytes) -> Any:
        """AES-GCM with the key of the file that has this salt.

        :raises EngineUnavailable: the package is missing.
        """
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
            from cryptography.hazmat.primitives.hashes import SHA256
            from cryptography.hazmat.primitives.kdf.hkdf import HKDF
        except ImportError as error:
            raise EngineUnavailable(
                f"encrypted recordings need the package cryptography ({error})", hint='pip install "antiphon[memory]"'
            ) from error
        return AESGCM(HKDF(SHA256(), 32, salt, b"antiphon recording").derive(self._key))


_HOW = f"make one (openssl rand -base64 32) and give it in {KEY_VARIABLE} or in the file that transcript.key_file names"
_URL_SAFE = str.maketrans("-_", "+/")


class SealedWriter:
    """Writes segments to a file. Each is on its way to the disk when :meth:`write` returns."""

    def __init__(self, file: IO[bytes], key: RecordingKey) -> None:
        salt = os.urandom(_SALT_BYTES)
        self._file = file
        self._cipher = key.cipher(salt)
        self._header = MAGIC + key.id + salt
        self._number = 0
        file.write(self._header)
        file.flush()

    def write(self, data: bytes, *, last: bool = False) -> None:
        flags = bytes([_LAST if last else 0])
        nonce = self._number.to_bytes(12, "big")
        sealed = self._cipher.encrypt(nonce, data, self._header + nonce + flags)
        self._file.write(len(sealed).to_bytes(4, "big") + flags + sealed)
        self._file.flush()
        self._number += 1


class SealedReader:
    """Reads segments; `complete` says, after the last one, whether the end is there."""

    def __init__(self, file: IO[bytes], key: RecordingKey, name: str) -> None:
        """
        :raises RecordingDamaged: this is no sealed recording.
        :raises TranscriptKeyError: it was sealed with another key.
        """
        self.complete = False
        self._file, self._name = file, name
        self._header = file.read(len(MAGIC) + _ID_BYTES + _SALT_BYTES)
        if len(self._header) != len(MAGIC) + _ID_BYTES + _SALT_BYTES or not self._header.startswith(MAGIC):
            raise RecordingDamaged(f"{name}: this is no encrypted recording")
        if self._header[len(MAGIC) : len(MAGIC) + _ID_BYTES] != key.id:
            raise TranscriptKeyError(f"{name}: encrypted with another key", hint="give the key that it was made with")
        self._cipher = key.cipher(self._header[-_SALT_BYTES:])

    def __iter__(self) -> Iterator[bytes]:
        """
        :raises RecordingDamaged: a segment was changed, moved or taken out. One that was not finished ends it quietly.
        """
        number = 0
        while (segment := self._next(number)) is not None:
            data, last = segment
            yield data
            number += 1
            if last:
                self.complete = True
                return

    def segment(self, number: int, place: int) -> bytes:
        """One segment, which begins at `place` of the file (as `place` was before it was read in order).

        :raises RecordingDamaged: it is not there, or was changed.
        """
        self._file.seek(place)
        found = self._next(number)
        if found is None:
            raise RecordingDamaged(f"{self._name}: segment {number} is gone")
        return found[0]

    @property
    def place(self) -> int:
        """Where in the file the next segment begins."""
        return self._file.tell()

    def _next(self, number: int) -> tuple[bytes, bool] | None:
        """A segment, and whether it is the last; None: there is none that is whole."""
        from cryptography.exceptions import InvalidTag

        if len(head := self._file.read(5)) < 5:
            return None
        length, flags = int.from_bytes(head[:4], "big"), head[4:]
        if length > _MAX_SEGMENT:
            raise RecordingDamaged(f"{self._name}: damaged in segment {number}")
        sealed = self._file.read(length)
        if len(sealed) < length:
            return None  # the process died while it wrote this
        nonce = number.to_bytes(12, "big")
        try:
            data: bytes = self._cipher.decrypt(nonce, sealed, self._header + nonce + flags)
        except InvalidTag:
            raise RecordingDamaged(f"{self._name}: damaged, or changed, in segment {number}") from None
        return data, bool(flags[0] & _LAST)


def is_sealed(path: Path) -> bool:
    """:raises OSError: the file cannot be read."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC
