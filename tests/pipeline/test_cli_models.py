"""`antiphon models` as a user and as a program meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from model_sources import blob, sha256, specs
from typer.testing import CliRunner, Result

from antiphon.pipeline.cli.models import app

FILES = {"config.json": b'{"a": 1}', "model.bin": blob("model", 300_000)}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a catalog of its own: "tiny", which lies in a folder, and "lost", which lies nowhere."""
    share = tmp_path / "share"
    share.mkdir()
    for name, data in FILES.items():
        (share / name).write_bytes(data)
    tiny: dict[str, Any] = {"stage": "stt", "language": "en", "licence": "MIT", "files": specs(FILES)}
    lost = {
        "stage": "tts",
        "files": specs({"a": b"a"}),
        "sources": [{"kind": "path", "path": str(tmp_path / "no[where]")}],
    }
    tiny |= {"sources": [{"kind": "path", "path": str(share)}], "metadata": {"encoder_window_s": 8.0}}
    home = tmp_path / "home"
    home.mkdir()
    (home / "catalog.yaml").write_text(json.dumps({"models": {"tiny": tiny, "lost": lost}}), "utf-8")
    monkeypatch.setenv("ANTIPHON_HOME", str(home))
    return home


def run(*arguments: str | Path, text: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=text)


def ok(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list_shows_every_model_and_its_state(home: Path) -> None:
    ok("pull", "tiny")
    table = ok("list")
    for word in ("name", "stage", "language", "licence", "size", "state", "whisper-tiny.en", "BSD-2-Clause"):
        assert word in table
    assert "ready" in next(line for line in table.splitlines() if line.startswith("tiny"))
    rows = {row["name"]: row for row in json.loads(ok("list", "--json"))}
    assert rows["tiny"] == {
        "name": "tiny", "stage": "stt", "language": "en", "licence": "MIT", "size": 300_008, "state": "ready",
    }  # fmt: skip
    assert rows["lost"]["state"] == "missing" and len(rows) == 9


def test_show(home: Path) -> None:
    text = ok("show", "tiny")
    assert "encoder_window_s: 8.0" in text and sha256(FILES["model.bin"]) in text and f"1. path {home.parent}" in text
    data = json.loads(ok("show", "tiny", "--json"))
    assert data["metadata"] == {"encoder_window_s": 8.0} and data["files"]["config.json"]["size"] == 8
    assert data["directory"] == str(home / "models" / "tiny") and data["state"] == "missing"


def test_pull_verify_path(home: Path) -> None:
    assert f"tiny: fetched from path {home.parent / 'share'}: {home / 'models' / 'tiny'}" in ok("pull", "tiny")
    assert "tiny: here and verified" in ok("pull", "tiny")
    assert json.loads(ok("pull", "tiny", "--json"))[0]["source"] == ""
    assert ok("verify").strip() == "tiny: ok"
    assert ok("path", "tiny").strip() == str(home / "models" / "tiny")
    assert ok("path", "tiny", "--file", "model.bin").strip() == str(home / "models" / "tiny" / "model.bin")
    assert json.loads(ok("path", "tiny", "--json"))["files"]["model.bin"].endswith("/tiny/model.bin")


def test_verify_of_a_damaged_model(home: Path) -> None:
    ok("pull", "tiny")
    (home / "models" / "tiny" / "model.bin").write_bytes(blob("evil", 300_000))
    result = run("verify", "tiny")
    assert result.exit_code == 1 and "tiny: not right" in result.stdout
    assert f"wrong hash: expected SHA-256 {sha256(FILES['model.bin'])}" in result.stdout
    assert "antiphon models pull tiny" in result.stderr
    result = run("verify", "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 1 and report[0]["ok"] is False
    assert [file["state"] for file in report[0]["files"]] == ["ok", "wrong hash"]
    ok("pull", "tiny")
    ok("verify", "tiny")


def test_verify_of_an_empty_store(home: Path) -> None:
    result = run("verify")
    assert result.exit_code == 0 and "no models" in result.stderr


def test_errors_are_text_and_exit_code_1(home: Path) -> None:
    result = run("pull", "lost")
    assert result.exit_code == 1 and result.stdout == ""
    assert "error: model 'lost' could not be fetched. Tried in order:" in result.stderr
    assert f"1. path {home.parent}/no[where]: " in result.stderr and "models import" in result.stderr
    result = run("path", "lost")
    assert result.exit_code == 1 and "antiphon models pull lost" in result.stderr
    result = run("show", "tinny")
    assert result.exit_code == 1 and "Did you mean 'tiny'?" in result.stderr
    (home / "catalog.yaml").write_text("models:\n  tiny: {}\n", "utf-8")
    result = run("list")
    assert result.exit_code == 1 and "catalog.yaml:2: models.tiny.files: Field required" in result.stderr
    for shown in (result.stderr, result.stdout):
        assert "Traceback" not in shown


def test_wrong_usage_is_exit_code_2(home: Path) -> None:
    for arguments in (["pull"], ["nonsense"], ["export", "tiny"], ["pull", "tiny", "--include", "*"], ["show"]):
        assert run(*arguments).exit_code == 2, arguments
    ok("pull", "tiny")
    result = run("path", "tiny", "--file", "nothing")
    assert result.exit_code == 2 and "nothing" in result.stderr


def test_export_and_import(home: Path, tmp_path: Path) -> None:
    ok("pull", "tiny")
    archive = tmp_path / "m.tar"
    assert "antiphon models import m.tar" in ok("export", "tiny", "--out", archive)
    assert json.loads(ok("export", "tiny", "--out", archive, "--json"))["size"] == archive.stat().st_size
    other = tmp_path / "other"
    assert ok("--store", other, "import", archive).strip() == "tiny: imported"
    assert ok("--store", other, "import", archive).strip() == "tiny: was here already"
    (home / "catalog.yaml").unlink()
    third = tmp_path / "third"
    assert "not in the catalog" in ok("--store", third, "import", archive)
    assert json.loads(ok("--store", third, "import", archive, "--json")) == [
        {"name": "tiny", "changed": False, "in_catalog": False}
    ]
    assert "tiny" in ok("--store", third, "list")


def test_prune_lists_asks_and_removes(home: Path) -> None:
    assert ok("prune").strip() == "Nothing to remove."
    stray = home / "models" / "stray"
    stray.mkdir(parents=True)
    (stray / "x").write_bytes(b"123")
    assert str(stray) in ok("prune", "--dry-run") and stray.exists()
    result = run("prune")
    assert result.exit_code == 2 and str(stray) in result.stdout and stray.exists()
    assert "--yes" in result.stderr
    report = json.loads(ok("prune", "--yes", "--json"))
    assert report["removed"] is True and report["leftovers"][0]["kind"] == "unknown" and report["freed"] == 3
    assert not stray.exists()


@pytest.mark.parametrize(("answer", "gone"), [("y\n", True), ("n\n", False)])
def test_prune_asks_on_a_terminal(home: Path, monkeypatch: pytest.MonkeyPatch, answer: str, gone: bool) -> None:
    stray = home / "models" / "stray"
    stray.mkdir(parents=True)
    monkeypatch.setattr("antiphon.pipeline.cli.models._can_ask", lambda: True)
    result = run("prune", text=answer)
    assert "Remove all of this?" in result.output and stray.exists() is not gone
    assert result.exit_code == (0 if gone else 1)


def test_catalog_of_ones_own_by_option(home: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra.yaml"
    extra.write_text(json.dumps({"models": {"more": {"files": specs({"a": b"a"})}}}), "utf-8")
    assert "more" in ok("--catalog", extra, "list") and "tiny" in ok("--catalog", extra, "list")


# ------------------------------------------------------------------------------------ for a configuration


@pytest.fixture
def config(home: Path, tmp_path: Path) -> Path:
    """Names the model "tiny" twice, and beside it only what needs no model."""
    path = tmp_path / "mine.yaml"
    path.write_text(
        "vad: {engine: webrtcvad}\nturn: {engine: silence}\n"
        "stt: {engine: faster_whisper, model: tiny}\n"
        "llm: {engine: openai, base_url: 'http://localhost:1/v1'}\n"
        "tts: {engine: openai, base_url: 'http://localhost:1/v1'}\n"
    )
    return path


def test_pull_fetches_what_a_configuration_names(config: Path) -> None:
    pulled = json.loads(ok("pull", "--for", config, "--json"))
    assert [(one["name"], one["source"] != "") for one in pulled] == [("tiny", True)]
    again = json.loads(ok("pull", "--for", config, "--for", config, "tiny", "--json"))
    assert [(one["name"], one["source"]) for one in again] == [("tiny", "")]


def test_export_takes_what_a_configuration_names(config: Path, tmp_path: Path) -> None:
    archive = tmp_path / "m.tar"
    missing = run("export", "--for", config, "--out", archive)
    assert (missing.exit_code, archive.exists()) == (1, False)
    ok("pull", "--for", config)
    report = json.loads(ok("export", "--for", config, "tiny", "--out", archive, "--json"))
    assert report["models"] == ["tiny"]
    assert ok("--store", tmp_path / "other", "import", archive).strip() == "tiny: imported"


def test_export_of_nothing_and_of_two_stores(config: Path, tmp_path: Path) -> None:
    archive = tmp_path / "m.tar"
    ok("pull", "tiny")
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text(f"{config.read_text()}models: {{store: ./elsewhere}}\n")
    ok("pull", "--for", elsewhere)
    both = run("export", "--for", config, "--for", elsewhere, "--out", archive)
    assert (both.exit_code, archive.exists()) == (2, False)
    ok("export", "--for", elsewhere, "--out", archive)
    elsewhere.write_text(config.read_text().replace("model: tiny", f"model: {tmp_path / 'share'}"))
    none = run("export", "--for", elsewhere, "--out", tmp_path / "none.tar")
    assert (none.exit_code, "names a model" in none.stderr) == (2, True)


def test_pull_uses_the_store_and_the_catalogs_of_the_configuration(config: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "own.yaml"
    share = tmp_path / "share"
    entry = {"stage": "stt", "files": specs(FILES), "sources": [{"kind": "path", "path": str(share)}]}
    catalog.write_text(json.dumps({"models": {"mine": entry}}), "utf-8")
    text = config.read_text().replace("model: tiny", "model: mine")
    config.write_text(f"{text}models: {{store: ./elsewhere, catalogs: [own.yaml]}}\n")
    (pulled,) = json.loads(ok("pull", "--for", config, "--json"))
    assert Path(pulled["directory"]) == config.parent / "elsewhere" / "mine"
    (asked,) = json.loads(ok("--store", tmp_path / "asked", "pull", "--for", config, "--json"))
    assert Path(asked["directory"]) == tmp_path / "asked" / "mine"


def test_pull_for_a_file_of_ones_own_asks_only_that_it_is_there(config: Path, tmp_path: Path) -> None:
    own = tmp_path / "weights"
    config.write_text(config.read_text().replace("model: tiny", f"model: {own}"))
    missing = run("pull", "--for", config)
    assert (missing.exit_code, str(own) in missing.stderr.replace("\n", "")) == (1, True)
    own.mkdir()
    (own / "model.bin").write_bytes(b"x")
    assert ok("pull", "--for", config) == "Nothing to fetch: no engine of it names a model of a catalog or hub.\n"


def test_pull_for_a_wrong_configuration_is_wrong_usage(config: Path) -> None:
    config.write_text("extends: tiny.yaml\nstt: {modle: tiny}\n")
    wrong = run("pull", "--for", config)
    assert wrong.exit_code == 2
    assert "did you mean 'model'?" in wrong.stderr
