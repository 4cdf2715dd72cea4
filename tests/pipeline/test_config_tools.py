"""What `workflow` says of agents and tools: what is valid, and what is said where it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from antiphon.pipeline.config import Config, InvalidConfig, dump_config, parse_config
from antiphon.pipeline.config.tools import ToolConfig


def parsed(folder: Path | None = None, **workflow: Any) -> Config:
    text = yaml.safe_dump({"extends": "local.yaml", "workflow": {"kind": "agent", **workflow}}, sort_keys=False)
    return parse_config(text, directory=folder, environ={})


def test_all_of_it_is_read_and_written_back(tmp_path: Path) -> None:
    config = parsed(
        tmp_path,
        tools={
            "weather": {"function": "my_tools:get_weather", "say": "One moment.", "announce": "It is {result}."},
            "notes": {"command": "python", "args": ["x.py", "5"], "cwd": "sub", "env": ["TOKEN"], "only": ["read"]},
            "shop": {"openapi": "shop.yaml", "operations": ["get"], "auth_env": "KEY", "headers_env": {"X-A": "A"}},
            "far": {"url": "http://127.0.0.1:1/mcp", "auth_env": "KEY", "timeout_s": 5, "announce": True},
            "get": {"needs_approval": True, "on_interrupt": "finish"},
        },
        uses=["weather"],
        agents={"sales": {"instructions": "Sell.", "uses": ["shop"], "handoffs": ["main"]}},
        handoffs=["sales"],
        input_guardrails=["my_checks:polite"],
        max_steps=2,
    )
    tools = config.workflow.tools
    assert [tool.source for tool in tools.values()] == ["function", "command", "openapi", "url", None]
    assert tools["notes"].cwd == tmp_path / "sub" and tools["shop"].openapi == tmp_path / "shop.yaml"
    assert tools["notes"].args == ("x.py", "5") and tools["far"].announce is True
    assert parse_config(dump_config(config, mask_secrets=False), environ={}) == config


def test_an_agent_of_code_with_rules() -> None:
    config = parsed(agent="my_agents:desk", tools={"book": {"timeout_s": 3}})
    assert config.workflow.agent == "my_agents:desk" and config.workflow.tools["book"].source is None


@pytest.mark.parametrize(
    ("workflow", "place", "message"),
    [
        ({"kind": "agnt"}, "workflow.kind", "did you mean 'agent'"),
        ({"kind": "chat", "tools": {"w": {"function": "a:b"}}}, "workflow", "'tools' means something only with"),
        ({"tools": {"w": {"function": "ab"}}}, "workflow.tools.w.function", "text of the form"),
        ({"tools": {"w": {"function": "a:b", "command": "x"}}}, "workflow.tools.w", "cannot stand together"),
        (
            {"tools": {"w": {"function": "a:b", "operations": ["x"]}}},
            "workflow.tools.w",
            "'operations' means something",
        ),
        ({"tools": {"w": {"function": "a:b", "auth_env": "X"}}}, "workflow.tools.w", "'auth_env' means something"),
        ({"tools": {"w": {"url": "http://x", "args": ["x"]}}}, "workflow.tools.w", "'args' means something"),
        ({"tools": {"w": {"openapi": "x.yaml"}}}, "workflow.tools.w", "'operations' is missing"),
        ({"tools": {"w": {"url": "ftp://x"}}}, "workflow.tools.w.url", "text of the form"),
        ({"tools": {"w": {"function": "a:b", "timeout_s": 0}}}, "workflow.tools.w.timeout_s", "more than 0"),
        ({"tools": {"w": {"function": "a:b", "on_interupt": "x"}}}, "workflow.tools.w.on_interupt", "'on_interrupt'"),
        ({"tools": {"w": {"on_interrupt": "wait"}}}, "workflow.tools.w.on_interrupt", "cancel or finish"),
        ({"tools": {"w w": {"function": "a:b"}}}, "workflow.tools", "w w"),
        ({"tools": {"w": {"command": "x", "env": ["A-B"]}}}, "workflow.tools.w.env", "text of the form"),
        ({"tools": ["w"]}, "workflow.tools", "allowed: a mapping"),
        ({"uses": ["x"]}, "workflow", "uses names 'x'; in tools there is: nothing"),
        ({"agents": {"s": {"uses": ["x"]}}}, "workflow.agents.s.instructions", "this key is missing"),
        ({"agents": {"s": {"instructions": "x", "handoffs": ["y"]}}}, "workflow", "agents.s.handoffs names 'y'"),
        ({"agents": {"main": {"instructions": "x"}}}, "workflow.agents", "'main' is the name of the first agent"),
        ({"handoffs": ["y"]}, "workflow", "handoffs names 'y'; there is: main"),
        ({"agent": "a:b", "agents": {"s": {"instructions": "x"}}}, "workflow", "cannot stand with 'agent'"),
        ({"agent": "ab"}, "workflow.agent", "text of the form"),
        ({"max_steps": 0}, "workflow.max_steps", "from 1 to 50"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(workflow: dict[str, Any], place: str, message: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        parsed(**workflow)
    assert f"{place}" in str(caught.value) and message in str(caught.value)


def test_the_keys_of_an_agent_mean_nothing_elsewhere() -> None:
    with pytest.raises(InvalidConfig, match="only with 'kind: agent'"):
        parsed(kind="my_module:Workflow", max_steps=2)


def test_a_tool_in_code() -> None:
    assert ToolConfig(function="a:b").source == "function"
    with pytest.raises(ValueError, match="cannot stand together"):
        ToolConfig(function="a:b", url="http://x")
