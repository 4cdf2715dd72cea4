"""Every route of the server, with no key, with a wrong one, with one for something else. On sockets of this machine."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from keyed import Keys, bearer, error_of, keyed
from network_clock import run_networked
from served import config
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from typer.testing import CliRunner
from websockets.asyncio.client import connect

from antiphon.pipeline.cli import app
from antiphon.pipeline.errors import ConfigError
from antiphon.server.access.keys import new_key
from antiphon.server.access.principal import SCOPES, Principal, Scope
from antiphon.server.access.routes import ELSE, RULES, rule_for
from antiphon.server.app import create_app
from antiphon.server.service import Service
from antiphon.server.serving import listen


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.json")


def every_route() -> Iterator[tuple[str, str]]:
    """Method (or WEBSOCKET) and path, parameters filled in, of all that the application answers."""

    async def make() -> Any:
        return create_app(Service(config()))

    def walk(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
        for route in routes:
            path = prefix + re.sub(r"\{[^}]*\}", "x", getattr(route, "path", ""))
            if isinstance(route, WebSocketRoute):
                yield "WEBSOCKET", path
            elif isinstance(route, Route):
                yield from ((method, path) for method in route.methods or {"GET"} if method != "HEAD")
            elif isinstance(route, Mount):
                yield "GET", f"{path}/x"
                yield from walk(list(route.routes or ()), path)
            else:  # a router that was included
                inner: Any = route
                assert inner.original_router.routes, f"a kind of route that this test does not know: {route!r}"
                yield from walk(inner.original_router.routes, prefix + inner.include_context.prefix)

    yield from walk(list(asyncio.run(make()).routes))


ROUTES = sorted(set(every_route()))


def test_every_route_has_a_row_in_the_table() -> None:
    """Without a row it would be for admins alone: whoever adds a route says in server/access/routes.py whose it is."""
    assert len(ROUTES) > 8
    assert ("POST", "/v1/audio/speech") in ROUTES and ("WEBSOCKET", "/v1/stream") in ROUTES
    assert [route for route in ROUTES if rule_for(route[1]) is ELSE] == []


def other_scope(scope: Scope) -> Scope:
    return next(one for one in sorted(SCOPES) if one != scope)


def test_every_route_asks_for_a_key_and_for_the_right_one(keys: Keys) -> None:
    lasting = {scope: keys.make(f"only-{scope}", scope) for scope in sorted(SCOPES)}
    unknown, _ = new_key("stranger", SCOPES, now_s=0)

    async def main() -> None:
        async with keyed(keys, {"wrong_keys_per_minute": 10_000}) as server:
            for method, path in ROUTES:
                needs = rule_for(path).needs
                if needs in ("public", "own"):
                    continue
                tried: list[tuple[str | None, int, str]] = [
                    (None, 401, "missing_api_key"),
                    (unknown, 401, "invalid_api_key"),
                    (lasting["audio"][:-1], 401, "invalid_api_key"),
                    ("any", 401, "invalid_api_key"),
                ]
                if needs != "any":
                    tried.append((lasting[other_scope(needs)], 403, "insufficient_permissions"))
                for token, status, code in tried:
                    place = f"{method} {path} with {token and token[:12]}"
                    if method == "WEBSOCKET":
                        found, error = await server.refused(path, token)
                        assert (found, error["code"]) == (status, code), place
                    else:
                        response = await server.client.request(method, path, headers=bearer(token))
                        assert error_of(response) == (status, code), place
                        assert (response.headers.get("www-authenticate") == "Bearer") == (status == 401)
                    assert server.service.sessions == 0

    run_networked(main())


def test_health_needs_no_key_and_says_nothing_of_the_server(keys: Keys) -> None:
    keys.make("desk")

    async def main() -> None:
        async with keyed(keys) as server:
            assert (await server.get("/healthz")).json() == {"status": "ok"}
            assert (await server.get("/readyz")).status_code == 200
            assert error_of(await server.get("/no/such/page")) == (401, "missing_api_key")
            assert error_of(await server.get("/no/such/page", keys.tokens["desk"])) == (404, "not_found")

    run_networked(main())


def test_a_key_in_the_header_or_for_browsers_in_a_subprotocol_and_nowhere_else(keys: Keys) -> None:
    token = keys.make("desk", "realtime")

    async def main() -> None:
        async with keyed(keys) as server:
            url = f"ws://{server.address}/v1/stream"
            async with connect(url, additional_headers=bearer(token)):
                pass
            offered = ["realtime", f"openai-insecure-api-key.{token}"]
            for path in ("/v1/stream", "/v1/realtime"):
                async with connect(f"ws://{server.address}{path}", subprotocols=offered) as client:  # type: ignore[arg-type]
                    assert client.subprotocol == "realtime", "browsers hang up otherwise"
            for name in ("api_key", "key", "token", "access_token"):
                status, error = await server.refused(f"/v1/stream?{name}={token}")
                assert (status, error["code"]) == (401, "missing_api_key")
                assert "none is taken from the query" in error["message"] and token not in error["message"]
            for wrong in (f"Basic {token}", token, "Bearer", f"Bearer  {token} {token}", "Bearer \xff"):
                response = await server.client.get("/v1/models", headers={"Authorization": wrong.encode("latin-1")})  # type: ignore[dict-item]
                assert error_of(response)[0] == 401
            twice = [("Authorization", f"Bearer {token}"), ("Authorization", "Bearer other")]
            assert error_of(await server.client.get("/v1/models", headers=twice)) == (401, "missing_api_key")
            assert (await server.get("/v1/models", token)).status_code == 200

    run_networked(main())


def test_keys_made_expired_and_revoked_while_the_server_runs(keys: Keys) -> None:
    keys.make("first")

    async def main() -> None:
        async with keyed(keys) as server:
            later = keys.make("later", "realtime", "audio")
            short = keys.make("short", expires_s=time.time() + 2)
            assert error_of(await server.get("/v1/models", later)) == (401, "invalid_api_key")
            await server.service.access.refresh()
            assert (await server.get("/v1/models", later)).status_code == 200
            async with connect(f"ws://{server.address}/v1/stream", additional_headers=bearer(later)) as talking:
                from antiphon.server.access.key_file import revoke_key

                revoke_key(keys.path, "later", now_s=time.time())
                # the server looks by itself
                assert await server.closed(talking) == (1008, "the key was revoked")
            assert error_of(await server.get("/v1/models", later)) == (401, "revoked_api_key")
            async with asyncio.timeout(60):
                while (answer := await server.get("/v1/models", short)).status_code == 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert error_of(answer) == (401, "expired_api_key")
            assert (await server.get("/v1/models", keys.tokens["first"])).status_code == 200

    asyncio.run(main())


def test_without_keys_this_machine_may_send_any_token_or_none() -> None:
    async def main() -> None:
        async with keyed() as server:
            for token in (None, "any", "sk-anything"):
                assert (await server.get("/v1/models", token)).status_code == 200
            async with connect(f"ws://{server.address}/v1/stream"):
                pass
            assert "keys: none" in server.service.access.protection()

    run_networked(main())


def test_the_first_key_closes_a_running_server_to_those_without(keys: Keys) -> None:
    async def main() -> None:
        async with keyed(keys) as server:
            assert (await server.get("/v1/models")).status_code == 200
            token = keys.make("desk")
            await server.service.access.refresh()
            assert error_of(await server.get("/v1/models")) == (401, "missing_api_key")
            assert (await server.get("/v1/models", token)).status_code == 200
            keys.path.unlink()
            await server.service.access.refresh()
            assert error_of(await server.get("/v1/models")) == (401, "missing_api_key")

    run_networked(main())


def test_an_ephemeral_key_begins_conversations_and_falls_with_the_key_that_made_it(keys: Keys) -> None:
    keys.make("desk", "realtime")

    async def main() -> None:
        async with keyed(keys) as server:
            parent = keys.find(server.service, "desk")
            known = {"tok_of_desk": Principal(parent.id, frozenset({"realtime"}), ephemeral=True)}
            server.service.access.add_resolver("tok_", known.get)
            admit = server.service.access.admit
            for path in ("/v1/models", "/v1/audio/speech", "/v1/realtime/client_secrets", "/v1/admin/x"):
                response = await server.client.get(path, headers=bearer("tok_of_desk"))
                assert error_of(response) == (403, "insufficient_permissions"), path
            assert error_of(await server.get("/v1/realtime", "tok_unknown")) == (401, "invalid_api_key")

            def request(token: str) -> Any:
                from starlette.requests import HTTPConnection

                headers = [(b"authorization", f"Bearer {token}".encode())]
                scope = {"type": "websocket", "path": "/v1/realtime", "headers": headers, "query_string": b""}
                return HTTPConnection(scope)

            assert admit(request("tok_of_desk")) == known["tok_of_desk"]
            from antiphon.server.access.key_file import revoke_key

            revoke_key(keys.path, "desk", now_s=time.time())
            await server.service.access.refresh()
            assert error_of(await server.get("/v1/realtime", "tok_of_desk")) == (401, "invalid_api_key")

    run_networked(main())


# ------------------------------------------------------------------------------------------ rates


def test_a_flood_with_one_key_is_answered_429_while_another_key_is_served(keys: Keys) -> None:
    flooding, calm = keys.make("flooding"), keys.make("calm")

    async def main() -> None:
        async with keyed(keys, {"requests_per_minute": 20}) as server:
            answers = await asyncio.gather(*(server.get("/v1/models", flooding) for _ in range(60)))
            statuses = [answer.status_code for answer in answers]
            assert 20 <= statuses.count(200) <= 22 and statuses.count(429) == 60 - statuses.count(200)
            refused = next(answer for answer in answers if answer.status_code == 429)
            assert error_of(refused) == (429, "rate_limit_exceeded")
            assert 1 <= int(refused.headers["retry-after"]) <= 3
            assert refused.headers["x-ratelimit-remaining-requests"] == "0"
            served = await server.get("/v1/models", calm)
            assert served.status_code == 200
            assert served.headers["x-ratelimit-limit-requests"] == "20"
            assert served.headers["x-ratelimit-remaining-requests"] == "19"
            assert served.headers["x-ratelimit-reset-requests"] == "3s"
            assert (await server.refused("/v1/stream", flooding))[0] == 429

    run_networked(main())


def test_conversations_of_a_key_are_counted_by_the_minute_and_at_a_time(keys: Keys) -> None:
    many, few = keys.make("many", "realtime"), keys.make("few", "realtime")

    async def main() -> None:
        settings = {"sessions_per_minute": 4, "sessions_per_key": 2}
        async with keyed(keys, settings) as server:
            url = f"ws://{server.address}/v1/stream"
            async with connect(url, additional_headers=bearer(many)), connect(url, additional_headers=bearer(many)):
                status, error = await server.refused("/v1/stream", many)
                assert (status, error["code"]) == (429, "too_many_sessions")
                async with connect(url, additional_headers=bearer(few)):
                    assert server.service.sessions == 3
            async with asyncio.timeout(60):
                while server.service.access.sessions_of(keys.find(server.service, "many").id):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            async with connect(url, additional_headers=bearer(many)):
                pass
            status, error = await server.refused("/v1/stream", many)
            assert (status, error["code"]) == (429, "rate_limit_exceeded")
            assert "may begin 4 conversations a minute" in error["message"]
            async with connect(url, additional_headers=bearer(few)):
                pass

    run_networked(main())


def test_without_keys_nothing_is_counted() -> None:
    async def main() -> None:
        async with keyed(settings={"requests_per_minute": 2, "sessions_per_minute": 1}) as server:
            for _ in range(6):
                answer = await server.get("/v1/models")
                assert answer.status_code == 200 and "x-ratelimit-limit-requests" not in answer.headers
                async with connect(f"ws://{server.address}/v1/stream"):
                    pass

    run_networked(main())


# ------------------------------------------------------------------------------------------ where it listens


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_others_are_listened_to_only_where_there_is_a_key(host: str, keys: Keys) -> None:
    settings = config({"host": host, "keys_file": keys.path}).server
    with pytest.raises(ConfigError, match="can be reached from other machines, and there are no keys") as caught:
        listen(settings)
    assert "antiphon keys create" in caught.value.hint
    keys.make("past", expires_s=1.0)
    with pytest.raises(ConfigError, match="no keys to ask for"):
        listen(settings)
    keys.make("desk")
    if host != "192.0.2.1":  # nobody's
        try:
            listen(settings).close()
        except ConfigError as error:
            assert host == "::" and error.key == "server.port", "a machine without IPv6"


def test_keys_of_the_environment_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    token, _ = new_key("desk", SCOPES, now_s=0)
    monkeypatch.setenv("ANTIPHON_API_KEYS", f"desk:chat:{token}")
    listen(config({"host": "0.0.0.0"}).server).close()

    async def main() -> None:
        async with keyed() as server:
            assert (await server.get("/v1/models", token)).status_code == 200
            assert error_of(await server.get("/v1/models")) == (401, "missing_api_key")

    run_networked(main())


@pytest.mark.parametrize(
    ("key", "value"), [("allowed_hosts", "*"), ("allowed_origins", "*"), ("allowed_origins", "null")]
)
def test_any_page_may_come_only_where_there_are_keys(key: str, value: str, keys: Keys) -> None:
    settings = config({key: (value,), "keys_file": keys.path}).server
    with pytest.raises(ConfigError, match="would let any web page use the server") as caught:
        listen(settings)
    assert caught.value.key == f"server.{key}"
    keys.make("desk")
    listen(settings).close()


# ------------------------------------------------------------------------------------------ what is left behind


def test_no_key_is_in_any_log_answer_or_dump(
    keys: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = keys.make("mine", "audio"), keys.make("other", "realtime")
    environment, _ = new_key("env", SCOPES, now_s=0)
    wrong, _ = new_key("wrong", SCOPES, now_s=0)
    monkeypatch.setenv("ANTIPHON_API_KEYS", f"env:all:{environment}")
    secrets = [mine, other, environment, wrong]
    log = tmp_path / "audit.jsonl"
    seen: list[str] = []
    caplog.set_level(0)

    async def main() -> None:
        async with keyed(keys, {"audit_log": log}) as server:
            for token in secrets:
                for path in ("/v1/models", "/v1/stream", f"/v1/audio/{token}", f"/v1/models/{token}", f"/?key={token}"):
                    response = await server.get(path, token)
                    if token not in path:  # an answer may name the path that was asked for
                        seen.append(response.text + str(response.headers))
                seen.append(str(await server.refused(f"/v1/stream?api_key={token}", wrong)))
            shown = CliRunner().invoke(app, ["config", "show", "tiny.yaml", "--set", f"server.keys_file={keys.path}"])
            assert str(keys.path) in shown.output
            seen.append(shown.output)
            seen.append(server.service.access.protection())

    run_networked(main())
    kept = keys.path.read_text() + log.read_text() + "".join(seen)
    kept += "".join(
        f"{one.getMessage()} {one.__dict__}" for one in caplog.records if one.name.startswith(("antiphon", "uvicorn"))
    )
    for token in secrets:
        assert token not in kept and token.split("_", 2)[2] not in kept


def test_the_rows_of_the_table_are_paths() -> None:
    assert len({rule.path for rule in RULES}) == len(RULES)
    assert all(rule.path == "/" or (rule.path.startswith("/") and not rule.path.endswith("/")) for rule in RULES)


def test_a_broken_answer_has_the_id_of_its_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Service, "model_names", property(lambda self: 1 / 0))

    async def main() -> httpx.Response:
        async with keyed() as server:
            return await server.get("/v1/models")

    response = run_networked(main())
    assert error_of(response) == (500, "internal_error")
    assert response.headers["x-request-id"] in response.json()["error"]["message"]
    assert [one.__dict__["request"] for one in caplog.records if one.message == "a request broke"] == [
        response.headers["x-request-id"]
    ]
    assert "division" not in json.dumps(response.json())
