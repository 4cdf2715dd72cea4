"""TLS with certificates that the tests make."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2 as httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from keyed import Keys, bearer
from network_clock import run_networked, until
from operated import figures
from served import config, serving
from websockets.asyncio.client import connect

from antiphon.pipeline.errors import ConfigError
from antiphon.server.access.tls import Tls
from antiphon.server.service import Service


def certificate(
    folder: Path, name: str = "localhost", *, days: float = 90, passphrase: bytes | None = None
) -> tuple[Path, Path]:
    """A certificate that has signed itself, and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=100))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(exist_ok=True)
    locked = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    return cert_path, key_path


def test_from_end_to_end(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path / "tls")
    keys = Keys(tmp_path / "keys.json")
    token = keys.make("desk")
    trust = ssl.create_default_context(cafile=str(cert))

    async def main() -> None:
        given = config({"tls_cert": cert, "tls_key": key, "keys_file": keys.path})
        async with serving(given) as (address, service):
            port = address.rpartition(":")[2]
            base = f"https://localhost:{port}"
            async with httpx.AsyncClient(base_url=base, verify=trust, trust_env=False) as client:
                assert (await client.get("/healthz")).json() == {"status": "ok"}
                assert (await client.get("/v1/models")).status_code == 401
                assert (await client.get("/v1/models", headers=bearer(token))).status_code == 200
                own, plain = {"Origin": base}, {"Origin": base.replace("https", "http")}
                assert (await client.get("/v1/models", headers={**bearer(token), **own})).status_code == 200
                assert (await client.get("/v1/models", headers={**bearer(token), **plain})).status_code == 403
            stream = f"wss://localhost:{port}/v1/stream"
            async with connect(stream, ssl=trust, additional_headers=bearer(token)) as talking:
                await talking.send(bytes(640))
                assert service.sessions == 1
            assert service.access.protection().startswith("keys: 1; TLS: on, ")
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.open_connection("localhost", int(port), ssl=ssl.create_default_context())
            async with httpx.AsyncClient(trust_env=False) as client:
                with pytest.raises(httpx.HTTPError):
                    await client.get(f"http://localhost:{port}/healthz")
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.load_verify_locations(cert)
            old.maximum_version = ssl.TLSVersion.TLSv1_2
            _, writer = await asyncio.open_connection("localhost", int(port), ssl=old)
            assert writer.get_extra_info("ssl_object").version() == "TLSv1.2"
            writer.close()
            assert service.access.tls is not None
            assert service.access.tls.context.minimum_version is ssl.TLSVersion.TLSv1_2

    run_networked(main())


def test_a_handshake_that_is_never_ended_is_given_up(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path / "tls")

    async def main() -> None:
        async with serving(config({"tls_cert": cert, "tls_key": key, "request_head_s": 0.3})) as (address, _):
            host, _, port = address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"\x16\x03\x01")  # the beginning of a handshake
            async with asyncio.timeout(60):
                assert await reader.read() == b""
            writer.close()

    run_networked(main())


async def no_goodbye(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A TLS connection of a client that does not answer when the server closes it: what is read stays encrypted."""
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
    encrypted = blind.wrap_bio(received, to_send)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    shaken = False
    while not shaken:
        try:
            encrypted.do_handshake()
            shaken = True
        except ssl.SSLWantReadError:
            pass
        writer.write(to_send.read())
        if not shaken:
            received.write(await reader.read(1 << 16))
    return reader, writer


def test_connections_too_many_that_do_not_say_goodbye_are_cut_off_and_count_no_more(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path / "tls")
    trust = ssl.create_default_context(cafile=str(cert))

    async def main() -> None:
        settings = {"tls_cert": cert, "tls_key": key, "max_connections": 4, "request_head_s": 600, "slow_client_s": 600}
        async with serving(config(settings)) as (address, service):
            port = int(address.rpartition(":")[2])
            taken = [await no_goodbye(port) for _ in range(4)]
            refused = [await no_goodbye(port) for _ in range(4)]
            name = "antiphon_connections_refused_total{front=http,reason=full}"
            await until(lambda: figures(service).get(name) == 4)
            for _, writer in taken:
                writer.transport.abort()
            async with httpx.AsyncClient(base_url=f"https://localhost:{port}", verify=trust, trust_env=False) as client:
                assert (await client.get("/healthz")).status_code == 200
            async with asyncio.timeout(10):  # of the virtual clock: without a bound asyncio waits for half a minute
                for reader, writer in refused:
                    await reader.read()
                    writer.transport.abort()

    run_networked(main())


def test_a_renewed_certificate_is_taken_up_and_half_a_renewal_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = certificate(tmp_path / "tls")
    new_cert, new_key = certificate(tmp_path / "new", days=200)

    async def served_until(port: int) -> datetime:
        blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=blind)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return x509.load_der_x509_certificate(der).not_valid_after_utc

    async def main() -> None:
        async with serving(config({"tls_cert": cert, "tls_key": key})) as (address, service):
            port = int(address.rpartition(":")[2])
            before = await served_until(port)
            os.replace(new_cert, cert)
            await service.access.refresh()
            assert await served_until(port) == before
            assert "the TLS files were replaced, and cannot be used" in caplog.messages
            os.replace(new_key, key)
            await service.access.refresh()
            after = await served_until(port)
            assert after - before > timedelta(days=100)
            assert service.access.tls is not None and service.access.tls.expires_s == after.timestamp()

    run_networked(main())


@pytest.mark.parametrize(("days", "said"), [(-1.0, "has expired"), (5.0, "expires soon"), (90.0, "")])
def test_a_certificate_that_ends_soon_is_told_of(
    days: float, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    cert, key = certificate(tmp_path / "tls", days=days)
    assert Tls(cert, key).days_left() == pytest.approx(days, abs=0.01)
    assert [one.message for one in caplog.records] == ([f"the TLS certificate {said}"] if said else [])
    service = Service(config({"tls_cert": cert, "tls_key": key}))
    assert ("EXPIRED" in service.access.protection()) == (days < 0)


def test_files_that_cannot_be_used_are_told_at_the_start(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path / "one")
    _, other_key = certificate(tmp_path / "two")
    locked_cert, locked_key = certificate(tmp_path / "three", passphrase=b"secret words")
    nothing = tmp_path / "nothing.pem"
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    for given, said, name in (
        ((cert, other_key), "the key does not belong to the certificate", "tls_key"),
        ((nothing, key), "cannot be read: No such file", "tls_cert"),
        ((cert, nothing), "cannot be read: No such file", "tls_key"),
        ((text, key), "no certificate and key in PEM", "tls_cert"),
        ((cert, text), "no certificate and key in PEM", "tls_cert"),
        ((tmp_path, key), "cannot be read: Is a directory", "tls_cert"),
        ((locked_cert, locked_key), "the key has a passphrase", "tls_key"),
    ):
        with pytest.raises(ConfigError, match=said) as caught:
            Tls(*given)
        assert caught.value.key == f"server.{name}"
        with pytest.raises(ConfigError):
            Service(config({"tls_cert": given[0], "tls_key": given[1]}))
