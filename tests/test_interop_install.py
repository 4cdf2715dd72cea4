"""What `make interop` installs: a part that is missing ends it, and says what to do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from interop_clients import INTEROP, install


def test_every_sdk_has_its_program_and_pinned_versions() -> None:
    assert install.environments() == ("livekit", "pipecat")
    for name in install.environments():
        assert (INTEROP / "python" / f"{name}_client.py").exists()
        lines = (INTEROP / "python" / f"{name}.txt").read_text("utf-8").splitlines()
        assert lines and all("==" in line for line in lines)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for variable in ("ANTIPHON_CHROMIUM", "ANTIPHON_FIREFOX", "ANTIPHON_TURNSERVER"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(install.Missing, match="apt-get install nodejs npm"):
        install.node()
    for kind, package in (("chromium", "chromium"), ("firefox", "firefox-esr"), ("turnserver", "coturn")):
        with pytest.raises(install.Missing, match=f"apt-get install {package}"):
            install.program(kind)
    monkeypatch.setenv("ANTIPHON_FIREFOX", str(tmp_path / "nothing"))
    with pytest.raises(install.Missing, match="ANTIPHON_FIREFOX"):
        install.program("firefox")


def test_an_old_node_is_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    def old(command: Any, **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0, stdout="v18.20.4\n")

    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "run", old)
    with pytest.raises(install.Missing, match=r"v18.20.4 is too old"):
        install.node()


def test_an_environment_is_ready_when_it_holds_what_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(install, "ENVIRONMENTS", tmp_path)
    assert not install.ready("livekit")
    python = install.python_of("livekit")
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    assert not install.ready("livekit"), "unfinished"
    mark = tmp_path / "livekit" / "requirements.txt"
    mark.write_text((INTEROP / "python" / "livekit.txt").read_text("utf-8"), "utf-8")
    assert install.ready("livekit")
    mark.write_text("livekit-agents==0.1\n", "utf-8")
    assert not install.ready("livekit"), "another version"


def test_a_failed_step_ends_the_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(
        install, "_install_packages", lambda: install._run([sys.executable, "-c", "raise SystemExit(3)"])
    )
    assert install.main() == 2
    assert "ended with status 3" in capsys.readouterr().err
