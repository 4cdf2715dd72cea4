"""Servers that ask for keys, and what clients see of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
from served import config, serving
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from antiphon.server.access.key_file import add_key
from antiphon.server.access.keys import Key, new_key
from antiphon.server.access.principal import SCOPES, Scope
from antiphon.server.service import Service


@dataclass
class Keys:
    """A file of keys, and the keys themselves, as nobody has them together but a test."""

    path: Path
    tokens: dict[str, str] = field(default_factory=dict)

    def make(self, name: str, *scopes: Scope, expires_s: float | None = None) -> str:
        token, key = new_key(name, scopes or SCOPES, now_s=time.time(), expires_s=expires_s)
        add_key(self.path, key)
        self.tokens[name] = token
        return token

    def find(self, service: Service, name: str) -> Key:
        key = service.access.keyring.find(self.tokens[name])
        assert key is not None
        return key


def bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


@dataclass
class Server:
    address: str
    service: Service
    client: httpx.AsyncClient

    async def get(self, path: str, token: str | None = None, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers={**bearer(token), **headers})

    async def refused(self, path: str, token: str | None = None, **arguments: Any) -> tuple[int, dict[str, Any]]:
        """How a WebSocket is refused: status, and the error's fields."""
        headers = {**bearer(token), **arguments.pop("headers", {})}
        try:
            async with connect(f"ws://{self.address}{path}", additional_headers=headers, **arguments):
                raise AssertionError("it was taken in")
        except InvalidStatus as error:
            response = error.response
            return response.status_code, json.loads(response.body or b"{}")["error"]

    async def closed(self, client: Any, within_s: float = 60) -> tuple[int, str]:
        """With which code and words the server closes a WebSocket."""
        try:
            async with asyncio.timeout(within_s):
                while True:
                    await client.recv()
        except ConnectionClosed as error:
            assert error.rcvd is not None
            return error.rcvd.code, error.rcvd.reason


@asynccontextmanager
async def keyed(keys: Keys | None = None, settings: dict[str, Any] | None = None, **more: Any) -> AsyncIterator[Server]:
    """A server on a socket, with the keys of a file."""
    given = config({**({"keys_file": keys.path} if keys is not None else {}), **(settings or {})}, **more)
    async with serving(given) as (address, service):
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as client:
            yield Server(address, service, client)


def error_of(response: httpx.Response) -> tuple[int, str]:
    """Status and code of an answer that is an error."""
    return response.status_code, response.json()["error"]["code"]
