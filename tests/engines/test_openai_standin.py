"""The stand-in itself: it must be as strict as the protocol, and fail as it is told."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pytest
from openai import OpenAI
from openai_standin import Call, OpenAIStandin, Reply

GOOD: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def post(server: OpenAIStandin, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
    request = urllib.request.Request(
        server.base_url + path, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.parametrize(
    "change",
    [
        {"tempreature": 1.0},
        {"temperature": "warm"},
        {"model": None},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "narrator", "content": "hi"}]},
        {"messages": [{"role": "user", "content": "hi", "mood": "good"}]},
        {"messages": [{"role": "tool", "content": "hi"}]},
        {"tools": [{"type": "function", "function": {"name": "f", "argumentz": {}}}]},
        {"stream": True, "stream_options": {"include_usge": True}},
    ],
)
def test_refuses_what_the_protocol_does_not_know(change: dict[str, Any]) -> None:
    with OpenAIStandin() as server:
        assert post(server, "/chat/completions", GOOD)[0] == 200 and not server.invalid
        status, answer = post(server, "/chat/completions", {**GOOD, **change})
        assert status == 400 and b"invalid request" in answer and len(server.invalid) == 1


def test_refuses_speech_requests_too() -> None:
    good = {"model": "m", "voice": "v", "input": "hi", "response_format": "pcm"}
    with OpenAIStandin() as server:
        assert post(server, "/audio/speech", good)[0] == 200
        assert post(server, "/audio/speech", {**good, "pitch": 2})[0] == 400
        assert post(server, "/audio/speech", {**good, "response_format": "pcm16"})[0] == 400
        assert post(server, "/audio/sing", good)[0] == 404


def test_the_vendors_own_client_understands_it() -> None:
    reply = Reply("Grüße", calls=(Call("f", '{"a": 1}'),))
    with (
        OpenAIStandin(replies=[reply], transcript="heard") as server,
        OpenAI(base_url=server.base_url, api_key="x", max_retries=0) as client,
    ):
        completion = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        message = completion.choices[0].message
        assert message.content == "Grüße" and message.tool_calls is not None and completion.usage is not None
        with client.chat.completions.create(**GOOD, stream=True) as stream:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        assert text == "Grüße"
        assert [model.id for model in client.models.list()] == ["standin"]
        wav = client.audio.speech.create(model="m", voice="v", input="hello", response_format="wav").content
        heard = client.audio.transcriptions.create(
            file=("a.wav", wav), model="m", response_format="verbose_json", timestamp_granularities=["word"]
        )
        assert heard.text == "heard" and heard.words is not None and heard.words[0].word == "heard"


def test_replies_go_on_with_the_last() -> None:
    with OpenAIStandin(replies=["a", "b"]) as server:
        said = [
            json.loads(post(server, "/chat/completions", GOOD)[1])["choices"][0]["message"]["content"] for _ in "123"
        ]
        assert said == ["a", "b", "b"]
        assert server.bodies("/chat/completions") == [GOOD] * 3


def test_unknown_scripts_are_refused() -> None:
    with pytest.raises(ValueError, match="no quirks"):
        OpenAIStandin(quirks=["slow"])
    with pytest.raises(ValueError, match="neither"):
        OpenAIStandin().fail_next("explode")


def test_a_script_that_crashes_is_not_hidden() -> None:
    def broken(body: dict[str, Any]) -> str:
        raise KeyError("in the script")

    with pytest.raises(KeyError, match="in the script"), OpenAIStandin(replies=broken) as server:
        assert post(server, "/chat/completions", GOOD)[0] == 500


def test_stops_though_somebody_hangs_on() -> None:
    async def main() -> None:
        with OpenAIStandin() as server:
            server.fail_next("hang")
            _, writer = await asyncio.open_connection("127.0.0.1", int(server.base_url.split(":")[2].split("/")[0]))
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(json.dumps(GOOD))}\r\n\r\n"
            writer.write(head.encode() + json.dumps(GOOD).encode())
            while not server.requests:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        writer.close()
        assert server._thread is not None and not server._thread.is_alive()

    asyncio.run(main())


def test_a_client_that_leaves_while_it_sends_is_no_crash() -> None:
    with OpenAIStandin() as server:
        url = urllib.parse.urlsplit(server.base_url)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 1000\r\n\r\n"
        with socket.create_connection((url.hostname, url.port), timeout=300) as client:
            client.sendall(head.encode() + b'{"model": ')
        assert post(server, "/chat/completions", GOOD)[0] == 200
        assert len(server.requests) == 1, "what never arrived as a whole was no request"
