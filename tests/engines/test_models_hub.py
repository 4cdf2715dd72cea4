"""The hub source against a local stand-in of its HTTP interface."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from model_sources import COMMIT, Hub, blob, catalog, entry, serve_hub, sha256

from antiphon.engines.errors import ModelMissing, ModelSourceFailed
from antiphon.engines.models import http as http_module
from antiphon.engines.models.pull import pull
from antiphon.engines.models.store import ModelStore

FILES = {"config.json": b'{"a": 1}', "model.bin": blob("model", 300_000)}
MODEL = FILES["model.bin"]
AT = f"/me/tiny/resolve/{COMMIT}"
REFERENCE = f"hub:me/tiny@{COMMIT}"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    for name in list(os.environ):
        if name.startswith("HF_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(http_module, "PAUSE_S", 0.0)
    with serve_hub() as served:
        served.add_repo("me/tiny", FILES)
        monkeypatch.setenv("HF_ENDPOINT", served.url + "/")
        yield served


def store_of(tmp_path: Path, **source: Any) -> ModelStore:
    hub_source = {"kind": "hub", "repo": "me/tiny", "revision": COMMIT, **source}
    return ModelStore(tmp_path / "models", catalog(tiny=entry(FILES, hub_source)))


def contents(store: ModelStore, reference: str = "tiny") -> dict[str, bytes]:
    return {file: Path(path).read_bytes() for file, path in store.resolve(reference).files.items()}


def reason(store: ModelStore, reference: str = "tiny", **options: Any) -> str:
    with pytest.raises(ModelSourceFailed) as caught:
        pull(store, reference, **options)
    (only,) = caught.value.reasons
    return only


def test_files_come_from_the_pinned_revision(hub: Hub, tmp_path: Path) -> None:
    store = store_of(tmp_path)
    assert pull(store, "tiny").source == f"hub me/tiny@{COMMIT[:12]}"
    assert contents(store) == FILES
    assert [seen.path for seen in hub.seen] == [f"{AT}/config.json", f"{AT}/model.bin"]
    assert all("authorization" not in seen.headers for seen in hub.seen)
    assert hub.seen[0].headers["user-agent"].startswith("antiphon")


def test_renamed_files_and_names_that_need_quoting(hub: Hub, tmp_path: Path) -> None:
    hub.files[f"/me/tiny/resolve/refs/pr/1/de/my voice #1.json"] = FILES["config.json"]  # noqa: F541
    hub.files["/me/tiny/resolve/refs/pr/1/model.bin"] = MODEL
    store = store_of(tmp_path, revision="refs/pr/1", files={"config.json": "de/my voice #1.json"})
    pull(store, "tiny")
    assert contents(store) == FILES


def test_redirect_to_a_storage_host_does_not_get_the_token(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serve_hub() as storage:
        storage.files["/bucket/model.bin"] = MODEL
        hub.redirects[f"{AT}/model.bin"] = f"{storage.url}/bucket/model.bin?signature=1"
        hub.redirects[f"{AT}/config.json"] = f"{hub.url}/cache/config.json"
        hub.files["/cache/config.json"] = FILES["config.json"]
        store = store_of(tmp_path)
        pull(store, "tiny")
        assert contents(store) == FILES
        assert all(seen.headers["authorization"] == "Bearer hf_secret" for seen in hub.seen)
        assert len(hub.gets("/cache/config.json")) == 1
        assert [seen.headers.get("authorization") for seen in storage.seen] == [None]


def test_resumed_request_follows_the_redirect_with_its_range(hub: Hub, tmp_path: Path) -> None:
    with serve_hub() as storage:
        storage.files["/bucket/model.bin"] = MODEL
        storage.faults["/bucket/model.bin"].append(("truncate", 100_000))
        hub.redirects[f"{AT}/model.bin"] = f"{storage.url}/bucket/model.bin"
        store = store_of(tmp_path)
        pull(store, "tiny")
        assert [seen.headers.get("range") for seen in storage.seen] == [None, "bytes=100000-"]
    assert contents(store) == FILES


def test_truncated_bodies_are_resumed(hub: Hub, tmp_path: Path) -> None:
    hub.faults[f"{AT}/model.bin"].extend([("truncate", 100_000), ("truncate", 50_000), ("truncate", 0)])
    store = store_of(tmp_path)
    pull(store, "tiny")
    assert contents(store) == FILES
    ranges = [seen.headers.get("range") for seen in hub.gets("model.bin")]
    assert ranges == [None, "bytes=100000-", "bytes=150000-", "bytes=150000-"]


def test_server_that_knows_no_ranges_or_no_length(hub: Hub, tmp_path: Path) -> None:
    hub.faults[f"{AT}/model.bin"].extend([("truncate", 100_000), ("no range", None)])
    hub.faults[f"{AT}/config.json"].append(("no length", None))
    store = store_of(tmp_path)
    pull(store, "tiny")
    assert contents(store) == FILES


def test_server_errors_are_tried_again_and_then_told(hub: Hub, tmp_path: Path) -> None:
    hub.faults[f"{AT}/config.json"].extend([("status", 500), ("status", 503), ("status", 429)])
    store = store_of(tmp_path)
    pull(store, "tiny")
    assert contents(store) == FILES
    hub.faults[f"{AT}/config.json"].extend([("status", 502)] * 10)
    other = store_of(tmp_path / "other")
    assert "502 Bad Gateway (4 attempts)" in reason(other)


def test_retry_after_is_obeyed_within_limits(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    hub.faults["/x"].extend([("status", 503), ("status", 429)])
    hub.files["/x"] = b"x"
    monkeypatch.setattr(http_module, "PAUSE_S", 0.5)
    target = http_module.Target(tmp_path / "x", 1, lambda at: None)
    http_module.download(f"{hub.url}/x", target, sleep=pauses.append)
    assert pauses == [0.5, 0.0]


@pytest.mark.parametrize("status", [404, 410])
def test_missing_file_is_told_at_once(hub: Hub, tmp_path: Path, status: int) -> None:
    hub.faults[f"{AT}/config.json"].append(("status", status))
    told = reason(store_of(tmp_path))
    assert told.startswith(f"hub me/tiny@{COMMIT[:12]}: {hub.url}{AT}/config.json: {status} ")
    assert len(hub.seen) == 1


def test_private_repository(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "hf_right"
    hub.add_repo("private/tiny", FILES)
    store = store_of(tmp_path, repo="private/tiny")
    assert "401 Unauthorized: it needs credentials (HF_TOKEN), or does not exist" in reason(store)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    told = reason(store)
    assert "401 Unauthorized: the credentials were refused" in told and "hf_wrong" not in told
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    pull(store, "tiny")
    assert contents(store) == FILES


def test_token_is_not_sent_in_the_clear_to_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    from antiphon.engines.models.sources import hub_token

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert hub_token("http://mirror.example") == ""
    assert hub_token("https://mirror.example") == hub_token("http://127.0.0.1:8080") == "hf_secret"


def test_user_and_password_in_an_url_become_a_header(hub: Hub, tmp_path: Path) -> None:
    hub.files["/x"] = b"x"
    url = hub.url.replace("http://", "http://me:p%40ss@")
    http_module.download(f"{url}/x", http_module.Target(tmp_path / "x", 1, lambda at: None))
    assert hub.seen[0].headers["authorization"] == "Basic bWU6cEBzcw=="


def test_wrong_content_is_refused_and_removed(hub: Hub, tmp_path: Path) -> None:
    wrong = blob("wrong", 300_000)
    hub.files[f"{AT}/model.bin"] = wrong
    store = store_of(tmp_path)
    told = reason(store)
    assert f"'model.bin' is not the right file: expected SHA-256 {sha256(MODEL)}, found SHA-256 {sha256(wrong)}" in told
    assert not list((store.root / ".staging").rglob("model.bin")) and store.state("tiny") == "missing"
    hub.files[f"{AT}/model.bin"] = blob("long", 300_001)
    assert "has 300001 bytes, expected 300000" in reason(store)
    hub.faults[f"{AT}/model.bin"].append(("no length", None))
    assert "longer than the 300000 bytes" in reason(store)


def test_hub_that_must_not_be_asked(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert reason(store_of(tmp_path)).endswith("HF_HUB_OFFLINE is set")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "ftp://mirror")
    assert "no http or https address" in reason(store_of(tmp_path))
    assert hub.seen == []


# ---------------------------------------------------------------------------- hub references


def test_reference_that_no_catalog_knows(hub: Hub, tmp_path: Path) -> None:
    store = store_of(tmp_path)
    with pytest.raises(ModelMissing):
        store.resolve(REFERENCE)
    pull(store, REFERENCE)
    assert contents(store, REFERENCE) == FILES
    assert store.resolve(REFERENCE).metadata["repo"] == "me/tiny"
    asked = len(hub.seen)
    pull(store, REFERENCE)
    assert len(hub.seen) == asked
    assert [report.state for report in store.verify(REFERENCE).files] == ["ok", "ok"]
    assert len(hub.gets("config.json")) == 1


def test_listing_of_several_pages(hub: Hub, tmp_path: Path) -> None:
    files = {f"part{number}.bin": blob(str(number), 2000) for number in range(5)}
    hub.add_repo("me/many", files, page=2)
    store = store_of(tmp_path)
    pull(store, f"hub:me/many@{COMMIT}")
    assert contents(store, f"hub:me/many@{COMMIT}") == files


def test_choice_among_quantisations(hub: Hub, tmp_path: Path) -> None:
    files = {"a.Q4.gguf": blob("4", 2000), "a.Q8.gguf": blob("8", 2000), "README.md": b"#", ".gitattributes": b"x"}
    hub.add_repo("me/quants", files)
    store, reference = store_of(tmp_path), f"hub:me/quants@{COMMIT}"
    told = reason(store, reference)
    assert "it has 2 GGUF files; choose with --include: a.Q4.gguf, a.Q8.gguf" in told
    assert "no file fits *.bin; it has a.Q4.gguf, a.Q8.gguf, README.md" in reason(store, reference, include=["*.bin"])
    pull(store, reference, include=["*Q4*"])
    assert contents(store, reference) == {"a.Q4.gguf": files["a.Q4.gguf"]}
    pull(store, reference, include=["*Q8*"])
    assert set(contents(store, reference)) == {"a.Q4.gguf", "a.Q8.gguf"}


def test_small_file_that_is_not_the_listed_one(hub: Hub, tmp_path: Path) -> None:
    hub.files[f"{AT}/config.json"] = b'{"a": 2}'
    assert "'config.json': expected git object" in reason(store_of(tmp_path), REFERENCE)


@pytest.mark.parametrize(
    "listing",
    [{}, ["x"], [{"type": "file"}], [{"type": "file", "path": "../../etc/passwd", "size": 1, "oid": "0"}]],
)
def test_listing_that_makes_no_sense(hub: Hub, tmp_path: Path, listing: Any) -> None:
    hub.listings[f"/api/models/me/tiny/tree/{COMMIT}"] = [listing]
    assert "the hub's listing is not understood" in reason(store_of(tmp_path), REFERENCE)


def test_repository_that_is_not_there(hub: Hub, tmp_path: Path) -> None:
    told = reason(store_of(tmp_path), "hub:me/nothing@v1")
    assert "404 Not Found" in told and not (tmp_path / "models" / ".staging" / "hub--me--nothing--v1").exists()
