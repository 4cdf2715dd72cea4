"""By which name the server is called, from which page, through which proxy. On sockets of this machine."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyed import Keys, error_of, keyed
from network_clock import run_networked
from served import config
from starlette.datastructures import Headers
from websockets.asyncio.client import connect

from antiphon.engines.net import is_loopback
from antiphon.pipeline.config.model import ServerConfig
from antiphon.pipeline.errors import ConfigError
from antiphon.server.access.door import foreign_origin, host_of

DESK = "https://desk.example"
EVIL = "https://evil.example"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.json")


def test_a_foreign_page_can_neither_post_nor_connect_to_a_server_without_keys() -> None:
    """What a browser sends for any page that asks it to: a form, a fetch without preflight, an image, a WebSocket."""

    async def main() -> None:
        async with keyed(settings={"allowed_origins": (DESK,)}) as server:
            asked = {"model": "any", "messages": [{"role": "user", "content": "Hello"}]}
            for origin in (EVIL, "null", "http://127.0.0.1:1", f"https://{server.address}.evil.example", "", "a b"):
                response = await server.client.post(
                    "/v1/chat/completions",
                    content=json.dumps(asked),
                    headers={"Origin": origin, "Content-Type": "text/plain"},
                )
                assert error_of(response) == (403, "origin"), origin
                assert "access-control-allow-origin" not in response.headers
            for site in ("cross-site", "same-site"):
                headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
                assert error_of(await server.get("/v1/models", **headers)) == (403, "origin")
                link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
                assert (await server.get("/healthz", **link)).status_code == 200
            status, error = await server.refused("/v1/stream", origin=EVIL)
            assert (status, error["code"]) == (403, "origin")
            assert EVIL in error["message"]
            assert server.service.sessions == 0
            twice = [("Origin", DESK), ("Origin", EVIL)]
            assert error_of(await server.client.get("/v1/models", headers=twice)) == (403, "origin")

            own = f"http://{server.address}"
            for origin in (own, DESK):
                assert (await server.get("/v1/models", Origin=origin)).status_code == 200
                async with connect(f"ws://{server.address}/v1/stream", origin=origin):  # type: ignore[arg-type]
                    pass
            assert (await server.get("/v1/models", **{"Sec-Fetch-Site": "same-origin"})).status_code == 200

    run_networked(main())


def test_a_name_that_was_pointed_at_this_machine_is_turned_away() -> None:
    """DNS rebinding: to the browser the page is no foreign one, but it calls the server by its own name."""

    async def main() -> None:
        async with keyed(settings={"allowed_hosts": ("voice.example", "*.lab.example")}) as server:
            port = server.address.rpartition(":")[2]
            for host in (f"evil.example:{port}", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example",
                         "lab.example", "", "[::1", "a/b", "voice.example:x", "0.0.0.0"):  # fmt: skip
                headers = {"Host": host, "Origin": f"http://{host}"}
                assert error_of(await server.get("/v1/models", **headers)) == (400, "host"), host
                assert error_of(await server.get("/healthz", Host=host)) == (400, "host"), host
            for host in (
                "127.0.0.1",
                f"localhost:{port}",
                "[::1]:1",
                "VOICE.example",
                "a.lab.example",
                "b.a.lab.example",
            ):
                assert (await server.get("/healthz", Host=host)).status_code == 200, host
            async with asyncio.timeout(60):
                reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
                upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                writer.write(f"GET /v1/stream HTTP/1.1\r\nHost: evil.example\r\n{upgrade}{key}\r\n".encode())
                assert (await reader.readline()).split()[1] == b"400"
                writer.close()

    run_networked(main())


def test_a_server_that_others_reach_goes_by_any_name_unless_it_is_told_which(keys: Keys) -> None:
    token = keys.make("desk")

    async def main() -> None:
        async with keyed(keys, {"host": "0.0.0.0"}) as server:
            port = server.address.rpartition(":")[2]
            server.client.base_url = f"http://127.0.0.1:{port}"  # type: ignore[assignment]
            assert (await server.get("/v1/models", token, Host="voice.example")).status_code == 200
            assert error_of(await server.get("/v1/models", Host="voice.example")) == (401, "missing_api_key")
        async with keyed(keys, {"host": "0.0.0.0", "allowed_hosts": ("voice.example",)}) as server:
            port = server.address.rpartition(":")[2]
            server.client.base_url = f"http://127.0.0.1:{port}"  # type: ignore[assignment]
            assert (await server.get("/v1/models", token, Host="voice.example")).status_code == 200
            assert error_of(await server.get("/v1/models", token, Host="other.example")) == (400, "host")

    run_networked(main())


def test_cors_for_the_origins_that_are_allowed_and_for_no_others(keys: Keys) -> None:
    token = keys.make("desk")
    wanted = "authorization, content-type, x-openai-agents-sdk, openai-beta, x-stainless-lang"

    async def main() -> None:
        async with keyed(keys, {"allowed_origins": (DESK,)}) as server:

            async def preflight(origin: str, **more: str) -> Any:
                asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": wanted, **more}
                return await server.client.options("/v1/realtime/calls", headers={"Origin": origin, **asked})

            allowed = await preflight(DESK)
            assert allowed.status_code == 200
            assert allowed.headers["access-control-allow-origin"] == DESK
            assert "POST" in allowed.headers["access-control-allow-methods"]
            assert allowed.headers["access-control-allow-headers"] == wanted
            assert "access-control-allow-credentials" not in allowed.headers
            foreign = await preflight(EVIL)
            assert foreign.status_code == 403 and "access-control-allow-origin" not in foreign.headers
            local = await preflight(DESK, **{"Access-Control-Request-Private-Network": "true"})
            assert local.headers["access-control-allow-private-network"] == "true"

            answer = await server.get("/v1/models", token, Origin=DESK)
            assert answer.headers["access-control-allow-origin"] == DESK
            exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
            assert {"location", "x-request-id", "retry-after"} <= set(exposed)
            denied = await server.get("/v1/models", Origin=DESK)  # the page may read why
            assert denied.status_code == 401 and denied.headers["access-control-allow-origin"] == DESK
            assert "origin" in answer.headers["vary"].lower()

    run_networked(main())


def test_with_keys_every_origin_may_be_allowed(keys: Keys) -> None:
    token = keys.make("desk")

    async def main() -> None:
        async with keyed(keys, {"allowed_origins": ("*",)}) as server:
            for origin in (EVIL, "null"):
                answer = await server.get("/v1/models", token, Origin=origin)
                assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)
                assert error_of(await server.get("/v1/models", Origin=origin))[0] == 401

    run_networked(main())


ORIGINS = st.sampled_from(["http", "https", "ftp", "javascript", ""]).flatmap(
    lambda scheme: st.text(st.characters(codec="latin-1"), max_size=20).map(lambda rest: f"{scheme}://{rest}")
)
HOSTS = st.sampled_from(["voice.example:8080", "voice.example", "[::1", "VOICE.example:8080", "voice.example:8080/"])


@given(ORIGINS | HOSTS.map("http://{}".format) | HOSTS.map("https://{}".format), st.sampled_from(["http", "https"]))
def test_only_the_very_origin_of_the_server_is_its_own(origin: str, scheme: str) -> None:
    headers = Headers({"host": "voice.example:8080", "origin": origin})
    own = (
        {"http://voice.example:8080", "https://voice.example:8080"}
        if scheme == "http"
        else {"https://voice.example:8080"}
    )
    found = foreign_origin({"type": "http", "scheme": scheme}, headers, ServerConfig())
    assert (found is None) == (origin.lower() in own)


def test_behind_tls_a_page_without_is_a_foreign_one() -> None:
    headers = Headers({"host": "voice.example", "origin": "http://voice.example"})
    assert foreign_origin({"type": "http", "scheme": "https"}, headers, ServerConfig()) == "http://voice.example"
    assert foreign_origin({"type": "http", "scheme": "http"}, headers, ServerConfig()) is None


@given(st.text(max_size=60))
def test_any_host_header_is_a_name_or_none(text: str) -> None:
    name = host_of(text)
    assert name is None or (name == name.lower() and text.lower().startswith(name))


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("Voice.Example:80", "voice.example"),
        ("[::1]:8080", "[::1]"),
        ("127.0.0.1", "127.0.0.1"),
        ("a@b", None),
        ("a:b:c", None),
        ("::1", None),
        ("a\n", None),
    ],
)
def test_hosts(header: str, name: str | None) -> None:
    assert host_of(header) == name


def test_loopback() -> None:
    assert all(is_loopback(one) for one in ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"))
    assert not any(is_loopback(one) for one in ("0.0.0.0", "::", "10.0.0.1", "localhost.example", ""))


# ------------------------------------------------------------------------------------------ ids, addresses


def test_every_answer_has_an_id_and_headers_that_keep_it_what_it_is(tmp_path: Path) -> None:
    async def main() -> None:
        async with keyed() as server:
            ids = set()
            for path in ("/healthz", "/v1/models", "/no/such", "/v1/models/none"):
                answer = await server.get(path, **{"X-Request-Id": "chosen-by-the-client"})
                ids.add(answer.headers["x-request-id"])
                assert re.fullmatch(r"req_[0-9a-f]{32}", answer.headers["x-request-id"])
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["cross-origin-resource-policy"] == "same-origin"
                assert answer.headers["x-frame-options"] == "DENY"
                assert "server" not in answer.headers
            assert len(ids) == 4
            async with connect(f"ws://{server.address}/v1/stream") as client:
                assert client.response is not None
                assert client.response.headers["x-request-id"].startswith("req_")

    run_networked(main())


def test_only_a_trusted_proxy_says_who_is_behind_it(tmp_path: Path, keys: Keys) -> None:
    token = keys.make("desk")
    said = {"X-Forwarded-For": "203.0.113.7", "X-Request-Id": "from-the-proxy", "X-Forwarded-Proto": "https"}

    async def entries(name: str, **settings: Any) -> list[dict[str, Any]]:
        log = tmp_path / f"{name}.jsonl"
        async with keyed(keys, {"audit_log": log, **settings}) as server:
            answer = await server.get("/v1/models", token, **said)
            if settings:
                bad = await server.get("/v1/models", token, **{**said, "X-Request-Id": "no\tgood"})
                assert bad.headers["x-request-id"].startswith("req_")
                spoofed = {**said, "X-Forwarded-For": "198.51.100.1, 203.0.113.7"}
                await server.get("/v1/models", token, **spoofed)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        found = [one for one in lines if one["event"] == "request"]
        assert found[0]["request"] == answer.headers["x-request-id"]
        return found

    plain = run_networked(entries("plain"))
    assert plain[0]["address"] == "127.0.0.1" and plain[0]["request"].startswith("req_")
    proxied = run_networked(entries("proxied", proxy_headers=("127.0.0.0/8",)))
    assert [one["address"] for one in proxied] == ["203.0.113.7"] * 3  # the last that no trusted proxy has written
    assert proxied[0]["request"] == "from-the-proxy"
    other = run_networked(entries("other", proxy_headers=("10.0.0.1",)))
    assert other[0]["address"] == "127.0.0.1" and other[0]["request"].startswith("req_")


def test_a_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="is no address and no network"):
        config({"proxy_headers": ("the-proxy",)})
    with pytest.raises(ValueError, match="belong together"):
        config({"tls_cert": Path("cert.pem")})


def test_other_settings_are_in_force_after_a_reload() -> None:
    async def main() -> None:
        async with keyed(settings={"allowed_origins": (DESK,)}) as server:
            assert (await server.get("/v1/models", Origin=DESK)).status_code == 200
            taken = config({"allowed_origins": (EVIL,)})
            server.service.config = taken
            server.service.access.reload(taken.server)
            assert error_of(await server.get("/v1/models", Origin=DESK)) == (403, "origin")
            answer = await server.get("/v1/models", Origin=EVIL)
            assert answer.headers["access-control-allow-origin"] == EVIL

    run_networked(main())


def test_a_reload_that_would_open_the_server_to_any_page_is_refused() -> None:
    async def main() -> None:
        async with keyed() as server:
            for check in server.service.reloading.checks:
                with pytest.raises(ConfigError, match="would let any web page use the server"):
                    check(config({"allowed_origins": ("*",)}))

    run_networked(main())


def test_a_reload_is_judged_by_the_keys_that_the_server_has(keys: Keys) -> None:
    """Those of a file that it names are asked for after the next start; pages would be let in at once."""
    keys.make("desk")

    async def main() -> None:
        async with keyed() as server:
            for check in server.service.reloading.checks:
                with pytest.raises(ConfigError, match="would let any web page use the server"):
                    check(config({"allowed_origins": ("*",), "keys_file": keys.path}))

    run_networked(main())


def test_a_reload_with_another_address_locks_nobody_out(keys: Keys) -> None:
    token = keys.make("desk")

    async def main() -> None:
        async with keyed(keys, {"host": "0.0.0.0"}) as server:
            port = server.address.rpartition(":")[2]
            server.client.base_url = f"http://127.0.0.1:{port}"  # type: ignore[assignment]
            taken = config({"host": "127.0.0.1", "keys_file": keys.path})
            for check in server.service.reloading.checks:
                check(taken)
            server.service.config = taken
            server.service.access.reload(taken.server)
            assert (await server.get("/v1/models", token, Host="voice.example")).status_code == 200

    run_networked(main())
