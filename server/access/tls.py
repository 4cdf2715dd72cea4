"""TLS from files, checked when they are loaded, and taken up again when they were renewed."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from pathlib import Path

from antiphon.pipeline.errors import ConfigError
from antiphon.server.access.key_file import Stamp, stamp_of

logger = logging.getLogger(__name__)

_DAY_S = 86_400.0
SOON_DAYS = 21.0
"""A certificate that ends within so many days is told of."""


class Tls:
    """A certificate and its key, and the context that serves them.

    :raises ConfigError: a file cannot be read, they do not belong together, or the key has a passphrase.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert, self._key = cert.expanduser(), key.expanduser()
        self._stamps = self._files()
        self.context = _context(self._cert, self._key)
        self.expires_s = _expires_s(self._cert)
        """When the certificate ends, in seconds since 1970; None: that cannot be told here."""
        self._warn()

    def _files(self) -> tuple[Stamp | None, Stamp | None]:
        return stamp_of(self._cert), stamp_of(self._key)

    def days_left(self) -> float | None:
        return None if self.expires_s is None else (self.expires_s - time.time()) / _DAY_S

    def _warn(self) -> None:
        left = self.days_left()
        if left is not None and left < SOON_DAYS:
            what = "the TLS certificate has expired" if left < 0 else "the TLS certificate expires soon"
            logger.warning(what, extra={"days_left": round(left, 1), "file": str(self._cert)})

    async def refresh(self) -> bool:
        """Take up files that were replaced; connections that are open keep what they have.

        :returns: whether there were any. Files that cannot be used, or do not fit yet, are left; the log says so.
        """
        try:
            stamps = await asyncio.to_thread(self._files)
            if stamps == self._stamps:
                return False
            self._stamps = stamps
            await asyncio.to_thread(
                _context, self._cert, self._key
            )  # a pair that does not fit must not reach the clients
            await asyncio.to_thread(_load, self.context, self._cert, self._key)
            self.expires_s = await asyncio.to_thread(_expires_s, self._cert)
        except ConfigError as error:
            logger.error("the TLS files were replaced, and cannot be used", extra={"error": error.problem})
            return False
        self._warn()
        return True


def _context(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load(context, cert, key)
    return context


class _Passphrase(Exception):
    pass


def _no_passphrase() -> str:
    raise _Passphrase  # without this OpenSSL would ask at the terminal, and wait


def _load(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    for name, path in (("tls_cert", cert), ("tls_key", key)):
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            message = f"cannot be read: {error.strerror or error}"
            hint = "check the path, and that the server's user may read the file"
            raise ConfigError(message, file=str(path), key=f"server.{name}", hint=hint) from error
    try:
        context.load_cert_chain(cert, key, password=_no_passphrase)
    except _Passphrase:
        hint = f"openssl pkey -in {key} -out plain.pem writes it without; keep that readable by the server alone"
        raise ConfigError("the key has a passphrase", file=str(key), key="server.tls_key", hint=hint) from None
    except (ssl.SSLError, ValueError) as error:
        if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                "the key does not belong to the certificate",
                file=str(key),
                key="server.tls_key",
                hint="The certificate of this server comes first in server.tls_cert, those that signed it after it.",
            ) from None
        hint = f"openssl x509 -noout -text -in {cert} shows a certificate, openssl pkey -noout -in {key} checks a key"
        message = "these are no certificate and key in PEM"
        raise ConfigError(message, file=str(cert), key="server.tls_cert", hint=hint) from None


def _expires_s(cert: Path) -> float | None:
    try:
        from cryptography import x509
    except ModuleNotFoundError:
        return None
    try:
        return x509.load_pem_x509_certificate(cert.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError) as error:
        raise ConfigError("this is no certificate in PEM", file=str(cert), key="server.tls_cert") from error
