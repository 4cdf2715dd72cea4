"""Agents and tools that a configuration declares: functions, MCP servers, APIs; and what is said where one is wrong."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from agents import Agent
from agents.mcp import MCPServerStdio
from agents_kit import Turns, called, calls, results, spoken

from antiphon.engines.protocols import ToolCall
from antiphon.engines.testing import Reply, ScriptedLLM
from antiphon.pipeline.agent.mcp_servers import CLOSE_TIMEOUT_S
from antiphon.pipeline.agent.runtime import AgentRuntime
from antiphon.pipeline.agent.toolbox import calculate, current_time
from antiphon.pipeline.agent.workflow import AgentWorkflow
from antiphon.pipeline.config.model import WorkflowConfig
from antiphon.pipeline.errors import WorkflowError
from antiphon.pipeline.user_code import load_user_object

pytestmark = pytest.mark.interop

SUPPORT = Path(__file__).parents[1] / "support"
NOTES = {"command": sys.executable, "args": [str(SUPPORT / "notes_server.py")]}
WEATHER = {"function": "agent_parts:get_weather"}


def settings(**keys: Any) -> WorkflowConfig:
    return WorkflowConfig.model_validate({"kind": "agent", "instructions": "Be brief.", **keys})


@asynccontextmanager
async def declared(steps: Any = (), *, offline: bool = True, **keys: Any) -> AsyncIterator[tuple[Turns, AgentRuntime]]:
    """Turns with the workflow that a configuration makes."""
    async with AgentRuntime(settings(**keys), load_user_object, offline=offline) as runtime:
        turns = Turns(Agent(name="unused"), steps)
        async with turns.llm:
            turns.workflow = runtime.workflow(turns.llm)
            yield turns, runtime


def opened(**keys: Any) -> None:
    async def main() -> None:
        async with declared(**keys):
            pass

    asyncio.run(main())


def asked(steps: Any, *questions: str, **keys: Any) -> tuple[list[list[Any]], ScriptedLLM, AgentWorkflow]:
    async def main() -> tuple[list[list[Any]], ScriptedLLM, AgentWorkflow]:
        async with declared(steps, **keys) as (turns, _):
            return [await turns.ask(question) for question in questions], turns.llm, turns.workflow

    return asyncio.run(main())


# -------------------------------------------------------------------------------------------- functions


def test_a_function_becomes_a_tool_with_its_schema_and_rules() -> None:
    steps = [called("weather", '{"city": "Paris"}'), Reply.of("Sunny.")]
    (pieces,), llm, workflow = asked(steps, "Weather?", tools={"weather": {**WEATHER, "say": "One moment."}})
    tool = llm.calls[0].tools[0]
    assert (tool.name, tool.description) == ("weather", "The weather in a city.")
    assert tool.parameters["properties"]["city"]["description"] == "Name of the city."
    assert results(pieces) == [("weather", "The weather in Paris is sunny.")]
    assert "One moment. " in pieces and workflow.current_agent == "main"
    assert llm.calls[0].messages[0].content == "Be brief."


def test_a_ready_tool_is_taken_as_it_is() -> None:
    (pieces,), _, _ = asked(
        [called("ready_tool"), Reply.of("Ok.")], "Go.", tools={"x": {"function": "agent_parts:ready_tool"}}
    )
    assert results(pieces) == [("ready_tool", "ready")]


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ({"function": "agent_parts:nothing"}, "workflow.tools.t.function: 'agent_parts:nothing' cannot be imported"),
        ({"function": "no_module_here:x"}, "workflow.tools.t.function: 'no_module_here:x' cannot be imported"),
        ({"function": "agent_parts:NOT_A_TOOL"}, "workflow.tools.t.function: .* neither a function nor a tool"),
        ({"function": "agent_parts:odd"}, "workflow.tools.t.function: no tool can be made"),
        ({"timeout_s": 3}, "rules for the tool 't', but no agent has it"),
    ],
)
def test_what_is_wrong_with_a_function_is_said_with_its_place(tool: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkflowError, match=message):
        opened(tools={"t": tool})


# ----------------------------------------------------------------------------------------------- agents


@pytest.mark.parametrize(("path", "name"), [("agent_parts:agent", "Coded"), ("agent_parts:make_agent", "Made")])
def test_an_agent_of_code_or_a_function_that_makes_one(path: str, name: str) -> None:
    (pieces,), _, workflow = asked([Reply.of("Hello.")], "Hi", agent=path, tools={"weather": WEATHER})
    assert workflow.current_agent == name and spoken(pieces) == "Hello."


def test_rules_for_a_tool_that_the_agent_has() -> None:
    steps = [called("ready_tool"), Reply.of("Ok.")]
    (pieces,), _, _ = asked(steps, "Go.", agent="agent_parts:agent", tools={"ready_tool": {"say": "Wait."}})
    assert "Wait. " in pieces


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("agent_parts:get_weather", "workflow.agent: .* cannot be called without arguments"),
        ("agent_parts:make_basket", "workflow.agent: .* is a Basket, no agents.Agent"),
        ("agent_parts:gone", "workflow.agent: .* cannot be imported"),
    ],
)
def test_what_is_no_agent(path: str, message: str) -> None:
    with pytest.raises(WorkflowError, match=message):
        opened(agent=path)


def test_several_agents_with_tools_of_their_own() -> None:
    steps = [
        called("transfer_to_sales"),
        called("weather", '{"city": "Rome"}', "2"),
        Reply.of("Sunny."),
        Reply.of("Hi."),
    ]
    keys: dict[str, Any] = {
        "tools": {"weather": WEATHER},
        "uses": [],
        "agents": {
            "sales": {"instructions": "Sell.", "description": "Sells.", "uses": ["weather"], "handoffs": ["main"]}
        },
    }
    (first, _), llm, workflow = asked(steps, "Sales!", "Hello?", **keys)
    assert [name for name, _ in calls(first)] == ["transfer_to_sales", "weather"]
    assert [tool.name for tool in llm.calls[0].tools] == ["transfer_to_sales"]
    assert "Sells." in llm.calls[0].tools[0].description
    assert [tool.name for tool in llm.calls[3].tools] == ["weather", "transfer_to_main"]
    assert workflow.current_agent == "sales"


def test_guardrails_by_dotted_path() -> None:
    keys = {"input_guardrails": ["agent_parts:no_swearing"], "on_guardrail": "Please be polite."}
    (pieces,), _, _ = asked([Reply.of("What?")], "damn", **keys)
    assert spoken(pieces) == "Please be polite."
    keys = {"output_guardrails": ["agent_parts:no_swearing"], "on_guardrail": ""}
    (pieces,), _, _ = asked([Reply.of("damn")], "Say it.", **keys)
    assert spoken(pieces) == ""
    with pytest.raises(WorkflowError, match=r"workflow\.input_guardrails: .* neither a function nor an InputGuardrail"):
        opened(input_guardrails=["agent_parts:NOT_A_TOOL"])


def test_a_context_object_for_each_session() -> None:
    async def main() -> list[Any]:
        async with declared(context="agent_parts:make_basket") as (turns, runtime):
            return [runtime.workflow(turns.llm)._context, runtime.workflow(turns.llm)._context]

    one, other = asyncio.run(main())
    assert one is not other and type(one).__name__ == "Basket"


# -------------------------------------------------------------------------------------------------- MCP


def test_a_server_of_ones_own_program() -> None:
    steps = [called("add_note", '{"text": "Buy milk"}'), Reply.of("Written."), called("read_notes"), Reply.of("Milk.")]
    (first, second), llm, _ = asked(steps, "Note: buy milk.", "My notes?", tools={"notes": NOTES})
    assert results(first) == [("add_note", "Note 1 is written.")] and results(second) == [("read_notes", "Buy milk")]
    assert [tool.name for tool in llm.calls[0].tools] == ["add_note", "read_notes", "slow_note", "environment"]


def test_a_server_has_the_variables_that_are_named_and_the_tools_that_are_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTES_TOKEN", "t0p")
    monkeypatch.setenv("OTHER_SECRET", "x")
    both = Reply(
        tool_calls=[
            ToolCall("1", "environment", '{"name": "NOTES_TOKEN"}'),
            ToolCall("2", "environment", '{"name": "OTHER_SECRET"}'),
        ]
    )
    tool = {**NOTES, "env": ["NOTES_TOKEN"], "only": ["environment"]}
    (pieces,), llm, _ = asked([both, Reply.of("Ok.")], "Go.", tools={"notes": tool})
    assert [output for _, output in results(pieces)] == ["t0p", "nothing"]
    assert [one.name for one in llm.calls[0].tools] == ["environment"]
    monkeypatch.delenv("NOTES_TOKEN")
    with pytest.raises(WorkflowError, match=r"workflow\.tools\.notes\.env: the environment variable NOTES_TOKEN"):
        opened(tools={"notes": tool})


def test_rules_hold_for_the_tools_of_a_server() -> None:
    steps = [called("slow_note", '{"seconds": 30}'), Reply.of("Sorry.")]
    (pieces,), _, _ = asked(steps, "Go.", tools={"notes": {**NOTES, "timeout_s": 0.5}, "read_notes": {"say": "x"}})
    assert "did not answer within 0.5 seconds" in results(pieces)[0][1]


def test_arguments_for_a_servers_tool_are_checked_first() -> None:
    steps = [called("add_note", '{"note": 5}'), Reply.of("Sorry.")]
    (pieces,), _, _ = asked(steps, "Go.", tools={"notes": NOTES})
    assert "'text' is a required property" in results(pieces)[0][1]


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        (
            {"command": "no-such-program-here"},
            "workflow.tools.t: the MCP server does not start: .*no-such-program-here",
        ),
        ({"command": sys.executable, "args": ["-c", "exit(3)"]}, "workflow.tools.t: the MCP server does not start"),
        (
            {"command": sys.executable, "args": ["-c", "import time; time.sleep(60)"], "connect_timeout_s": 1},
            "workflow.tools.t: the MCP server does not start: no answer within 1 s",
        ),
        ({"url": "http://127.0.0.1:9/mcp", "connect_timeout_s": 5}, "workflow.tools.t: the MCP server does not start"),
        ({"url": "https://example.com/mcp"}, "workflow.tools.t.url: .* is not on this machine"),
        ({**NOTES, "only": ["fly"]}, "workflow.tools.t.only: the MCP server has no tool 'fly'"),
    ],
    ids=["no program", "it exits", "it hangs", "nobody listens", "offline", "no such tool"],
)
def test_a_server_that_does_not_start_is_said_with_its_place(tool: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkflowError, match=message):
        opened(tools={"t": tool})


def test_a_server_is_ended_with_the_runtime() -> None:
    def children() -> set[int]:
        return {
            int(child)
            for task in Path("/proc/self/task").iterdir()
            for child in (task / "children").read_text().split()
        }

    async def main() -> tuple[set[int], set[int]]:
        before = children()
        async with declared(tools={"notes": NOTES}):
            while_open = children() - before
        for _ in range(round(CLOSE_TIMEOUT_S * 20)):
            if not while_open & children():
                break
            await asyncio.sleep(0.05)
        return while_open, while_open & children()

    if not Path("/proc/self/task").exists():
        pytest.skip("needs /proc")
    ran, left = asyncio.run(main())
    assert ran and not left


@contextmanager
def http_notes() -> Iterator[str]:
    import subprocess

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(SUPPORT / "notes_server.py"), "--http", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            threading.Event().wait(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait(10)


def test_a_server_by_its_address() -> None:
    with http_notes() as url:
        steps = [called("read_notes"), Reply.of("None.")]
        (pieces,), _, _ = asked(steps, "Notes?", tools={"notes": {"url": url}})
    assert results(pieces) == [("read_notes", "There are no notes.")]


def test_the_servers_of_an_agent_of_code_are_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    import agent_parts

    server = MCPServerStdio(params={"command": NOTES["command"], "args": NOTES["args"]}, name="notes")
    agent = Agent(name="Noter", instructions="Note.", mcp_servers=[server])
    monkeypatch.setattr(agent_parts, "noter", agent, raising=False)
    (pieces,), _, _ = asked([called("read_notes"), Reply.of("None.")], "Notes?", agent="agent_parts:noter")
    assert results(pieces) == [("read_notes", "There are no notes.")]
    assert server.session is None


# ---------------------------------------------------------------------------------------------- OpenAPI

SHOP: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Shop", "version": "1"},
    "servers": [{"url": "http://127.0.0.1:1"}],
    "security": [{"key": []}],
    "components": {
        "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Key"}},
        "schemas": {
            "Order": {
                "type": "object",
                "properties": {"item": {"$ref": "#/components/schemas/Item"}, "count": {"type": "integer"}},
                "required": ["item"],
            },
            "Item": {"type": "string", "description": "What to order."},
            "Tree": {"type": "object", "properties": {"child": {"$ref": "#/components/schemas/Tree"}}},
        },
    },
    "paths": {
        "/orders/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
            "get": {
                "operationId": "getOrder",
                "summary": "State of an order.",
                "parameters": [
                    {"name": "full", "in": "query", "description": "All of it.", "schema": {"type": "boolean"}}
                ],
            },
        },
        "/orders": {
            "post": {
                "operationId": "order",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}},
                },
            }
        },
        "/trees": {
            "post": {
                "operationId": "plant",
                "requestBody": {
                    "content": {"application/json": {"schema": {"type": "array", "items": {"type": "string"}}}}
                },
            },
            "put": {
                "operationId": "draw",
                "requestBody": {"content": {"image/png": {}}},
            },
            "get": {
                "operationId": "tree",
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Tree"}}}},
            },
        },
    },
}


class Shop(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ShopHandler)
        self.seen: list[tuple[str, str, dict[str, str], str]] = []
        self.answer: tuple[int, str] = (200, '{"state": "sent"}')

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _ShopHandler(BaseHTTPRequestHandler):
    server: Shop

    def do_GET(self) -> None:
        if self.path == "/openapi.yaml":
            self._send(200, yaml.safe_dump({**SHOP, "servers": [{"url": "/"}]}))
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self.server.seen.append((self.command, self.path, dict(self.headers.items()), body))
        self._send(*self.server.answer)

    do_POST = do_GET

    def _send(self, status: int, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def described(folder: Path, **changes: Any) -> str:
    path = folder / "shop.json"
    path.write_text(json.dumps({**SHOP, **changes}), "utf-8")
    return str(path)


def test_operations_become_tools(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", "k1")
    monkeypatch.setenv("SHOP_TRACE", "t1")
    tool = {
        "openapi": described(tmp_path),
        "operations": ["getOrder", "order"],
        "base_url": shop.url,
        "auth_env": "SHOP_KEY",
        "headers_env": {"X-Trace": "SHOP_TRACE"},
    }
    steps = [
        called("getOrder", '{"id": "a/7", "full": true}', "1"),
        called("order", '{"item": "tea", "count": 2}', "2"),
        Reply.of("Done."),
    ]
    (pieces,), llm, _ = asked(steps, "Order tea.", tools={"shop": tool})
    get, post = llm.calls[0].tools
    assert (get.name, get.description) == ("getOrder", "State of an order.")
    assert get.parameters["required"] == ["id"] and get.parameters["properties"]["full"]["description"] == "All of it."
    assert post.parameters["properties"]["item"] == {"type": "string", "description": "What to order."}
    assert results(pieces) == [("getOrder", '{"state": "sent"}'), ("order", '{"state": "sent"}')]
    (method, path, headers, _), (_, _, _, body) = shop.seen
    assert (method, path) == ("GET", "/orders/a%2F7?full=true")
    assert (headers["X-Key"], headers["X-Trace"]) == ("k1", "t1")
    assert json.loads(body) == {"item": "tea", "count": 2}


def test_a_description_by_its_address_with_a_relative_server(shop: Shop) -> None:
    tool = {"openapi_url": f"{shop.url}/openapi.yaml", "operations": ["getOrder", "plant", "tree"]}
    steps = [called("plant", '{"body": ["oak"]}'), Reply.of("Done.")]
    (pieces,), _, _ = asked(steps, "Plant an oak.", tools={"shop": tool})
    assert results(pieces) == [("plant", '{"state": "sent"}')]
    assert shop.seen[0][1] == "/trees" and json.loads(shop.seen[0][3]) == ["oak"]


@pytest.mark.parametrize(
    ("scheme", "header", "value"),
    [
        ({"type": "http", "scheme": "bearer"}, "Authorization", "Bearer u:p"),
        ({"type": "http", "scheme": "Basic"}, "Authorization", "Basic dTpw"),
        ({"type": "oauth2", "flows": {}}, "Authorization", "Bearer u:p"),
    ],
)
def test_secrets_are_sent_as_the_description_says(
    scheme: dict[str, Any], header: str, value: str, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", "u:p")
    components = {**SHOP["components"], "securitySchemes": {"key": scheme}}
    tool = {
        "openapi": described(tmp_path, components=components),
        "operations": ["getOrder"],
        "base_url": shop.url,
        "auth_env": "SHOP_KEY",
    }
    asked([called("getOrder", '{"id": "1"}'), Reply.of("Sent.")], "State?", tools={"shop": tool})
    assert shop.seen[0][2][header] == value


def test_a_key_in_the_query(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", "k")
    components = {**SHOP["components"], "securitySchemes": {"key": {"type": "apiKey", "in": "query", "name": "key"}}}
    tool = {
        "openapi": described(tmp_path, components=components),
        "operations": ["getOrder"],
        "base_url": shop.url,
        "auth_env": "SHOP_KEY",
    }
    asked([called("getOrder", '{"id": "1"}'), Reply.of("Sent.")], "State?", tools={"shop": tool})
    assert shop.seen[0][1] == "/orders/1?key=k"


def test_what_a_service_refuses_is_told_to_the_model(shop: Shop, tmp_path: Path) -> None:
    shop.answer = (404, "no such order")
    tool = {"openapi": described(tmp_path), "operations": ["getOrder"], "base_url": shop.url}
    (pieces,), _, _ = asked([called("getOrder", '{"id": "1"}'), Reply.of("Sorry.")], "State?", tools={"shop": tool})
    assert results(pieces) == [("getOrder", "The service refused it (404): no such order")]


def test_a_service_that_is_not_there_and_a_long_answer(shop: Shop, tmp_path: Path) -> None:
    tool = {"openapi": described(tmp_path), "operations": ["getOrder"]}
    steps = [called("getOrder", '{"id": "1"}'), Reply.of("Sorry.")]
    (pieces,), _, _ = asked(steps, "State?", tools={"shop": tool})
    assert results(pieces) == [("getOrder", "getOrder failed. Tell the user that it did not work.")]
    shop.answer = (200, "x" * 9000)
    (pieces,), _, _ = asked(steps, "State?", tools={"shop": {**tool, "base_url": shop.url}})
    assert len(results(pieces)[0][1]) < 4100 and results(pieces)[0][1].endswith("(cut)")


@pytest.mark.parametrize(
    ("keys", "changes", "message"),
    [
        ({"operations": ["fly"]}, {}, "workflow.tools.t.operations: there is no operation 'fly'; there is: .*getOrder"),
        ({"operations": ["draw"]}, {}, "the body of 'draw' is image/png; only JSON works"),
        ({}, {"openapi": "2.0"}, "no OpenAPI 3 description"),
        ({}, {"servers": []}, "names no server"),
        ({"base_url": "https://example.com"}, {}, "is not on this machine"),
        ({"auth_env": "NOT_SET_ANYWHERE"}, {}, "workflow.tools.t.auth_env: the environment variable NOT_SET_ANYWHERE"),
        (
            {"operations": ["x"]},
            {"paths": {"/x": {"post": {"operationId": "x", "requestBody": {"$ref": "#/gone"}}}}},
            "the reference '#/gone' leads nowhere",
        ),
        (
            {"operations": ["x"]},
            {"paths": {"/x": {"post": {"operationId": "x", "requestBody": {"$ref": "other.yaml#/x"}}}}},
            "leads out of the description",
        ),
    ],
)
def test_what_is_wrong_with_an_api_is_said_with_its_place(
    keys: dict[str, Any], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(WorkflowError, match=message):
        opened(tools={"t": {"openapi": described(tmp_path, **changes), "operations": ["getOrder"], **keys}})


def test_a_description_that_cannot_be_read(tmp_path: Path, shop: Shop) -> None:
    with pytest.raises(WorkflowError, match=r"workflow\.tools\.t: .*gone\.yaml cannot be read: FileNotFoundError"):
        opened(tools={"t": {"openapi": str(tmp_path / "gone.yaml"), "operations": ["x"]}})
    (tmp_path / "bad.yaml").write_text("{", "utf-8")
    with pytest.raises(WorkflowError, match=r"bad\.yaml cannot be read"):
        opened(tools={"t": {"openapi": str(tmp_path / "bad.yaml"), "operations": ["x"]}})
    shop.answer = (500, "no")
    with pytest.raises(WorkflowError, match="cannot be read"):
        opened(tools={"t": {"openapi_url": f"{shop.url}/gone", "operations": ["x"]}})
    with pytest.raises(WorkflowError, match=r"workflow\.tools\.t\.openapi_url: .* is not on this machine"):
        opened(tools={"t": {"openapi_url": "https://example.com/x", "operations": ["x"]}})


# ---------------------------------------------------------------------------------------------- toolbox


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        ("12 * (3 + 4)", "12 * (3 + 4) is 84."),
        ("1,000 / 3", "1,000 / 3 is 333.3333333."),
        ("7 x 8", "7 x 8 is 56."),
        ("2 ^ 10", "2 ^ 10 is 1024."),
        ("10 / 4", "10 / 4 is 2.5."),
        ("10 / 5", "10 / 5 is 2."),
        ("-3 + 1", "-3 + 1 is -2."),
        ("1 / 0", "That divides by zero."),
        ("9 ** 9 ** 9", "'9 ** 9 ** 9' cannot be worked out"),
        ("__import__('os')", "cannot be worked out"),
        ("(1).real", "cannot be worked out"),
        ("1 +", "cannot be worked out"),
        ("1" * 300, "too long"),
        ("True + 1", "cannot be worked out"),
    ],
)
def test_arithmetic(expression: str, answer: str) -> None:
    assert answer in calculate(expression)


def test_the_time() -> None:
    assert current_time().startswith("It is ") and ("AM" in current_time() or "PM" in current_time())
