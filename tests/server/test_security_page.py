"""The page on security says of each limit what its key is and which test shows it; both must be there."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import yaml
from typer.testing import CliRunner

from antiphon.pipeline.cli import app
from antiphon.pipeline.config.access import AccessKeys
from antiphon.pipeline.config.model import Config, ServerConfig
from antiphon.server.access import audit
from antiphon.server.access.addresses import entry_for
from antiphon.server.access.audit import _line
from antiphon.server.access.principal import SCOPES
from antiphon.server.tcp_front import listen_tcp

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMES = set(re.findall(r"`([^`\n]+)`", PAGE))
LIMITS = ("max_sessions", "capacity", "max_session_s", "stall_s", "max_message_kb", "max_upload_mb", "host")


def test_every_key_of_access_and_every_limit_is_on_the_page() -> None:
    for name in (*AccessKeys.model_fields, *LIMITS, "allowed_hosts", "allowed_origins"):
        assert name in ServerConfig.model_fields
        assert name in NAMES, name
    assert SCOPES <= NAMES


def test_every_test_that_it_names_exists() -> None:
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE)
    }
    named = {name for name in NAMES if name.startswith("test_")}
    assert len(named) > 20
    assert named <= defined, named - defined


def test_what_it_says_of_defaults_is_so() -> None:
    server = ServerConfig()
    table = dict(re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", PAGE.split("## Limits")[1], re.MULTILINE))
    assert table["`sessions_per_minute`"] == f"{server.sessions_per_minute} each key"
    assert table["`requests_per_minute`"] == f"{server.requests_per_minute} each key"
    assert table["`max_sessions`, `capacity`"] == f"{server.max_sessions}; measured"
    assert table["`max_upload_mb`, `upload_s`"] == f"{server.max_upload_mb} MB, {server.upload_s:g} s"
    assert table["`max_header_kb`"] == f"{server.max_header_kb} kB"
    assert table["`request_head_s`"].startswith(f"{server.request_head_s:g} s")
    assert table["`max_connections`"] == str(server.max_connections)
    assert table["`slow_client_s`"] == f"{server.slow_client_s:g} s"
    assert (server.max_session_s, server.stall_s, server.max_message_kb) == (3600, 60, 4096)
    assert Config.model_fields["session"].annotation.model_fields["idle_after_s"]  # type: ignore[union-attr]


def test_its_commands_run_and_its_line_is_of_the_form_that_is_written(tmp_path: Path) -> None:
    commands = re.findall(r"^    antiphon (keys .+)$", PAGE, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        result = CliRunner().invoke(app, command.split(), env={"ANTIPHON_HOME": str(tmp_path)})
        assert result.exit_code == 0, (command, result.output)
    shown = json.loads(re.findall(r"^    (\{.+\})$", PAGE, re.MULTILINE)[0])
    fields = {name: value for name, value in shown.items() if name not in ("time", "event")}
    made = json.loads(_line(0.0, shown["event"], fields))
    assert list(made) == list(shown)


def test_its_lists_of_addresses_are_a_configuration_and_bind_what_they_say() -> None:
    (block,) = [one for one in re.findall(r"(?:^    .*\n)+", PAGE, re.MULTILINE) if "allowed_addresses" in one]
    server = ServerConfig(**yaml.safe_load(textwrap.dedent(block))["server"])
    assert server.allowed_addresses == ("192.168.1.0/24",)
    assert entry_for("192.168.1.20", server.wyoming.allowed_addresses) == "192.168.1.20"
    assert entry_for("192.168.1.21", server.wyoming.allowed_addresses) is None
    for keys, name in ((server.wyoming, "wyoming"), (server.audiosocket, "audiosocket")):
        assert keys.host == "0.0.0.0"
        listen_tcp(keys, 0, f"server.{name}").close()


def test_what_it_says_of_the_bounds_of_the_audit_log_is_so() -> None:
    assert f"{audit.MAX_WAITING:,}" in PAGE and f"{audit.MAX_UNWRITTEN_BYTES >> 20} MB" in PAGE
    server = ServerConfig()
    table = dict(re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", PAGE.split("## Limits")[1], re.MULTILINE))
    assert table["`wrong_keys_per_minute`"] == f"{server.wrong_keys_per_minute} each address"
    assert server.max_connections_per_address is None and table["`max_connections_per_address`"] == "half of them"
    ports = f"{server.wyoming.max_connections}; {server.audiosocket.max_connections}"
    assert table["`wyoming.max_connections`, `audiosocket.max_connections`"] == ports
