"""The store: resolving, trusting what was verified, noticing what changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from model_sources import blob, catalog, entry, sha256

from antiphon.engines.errors import ModelCorrupt, ModelMissing, UnknownModel
from antiphon.engines.models.catalog import Catalog
from antiphon.engines.models.records import FileMark
from antiphon.engines.models.store import ModelStore, antiphon_home, default_catalog

FILES = {"model.bin": blob("model", 4000), "sub/config.json": b"{}"}


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models", catalog(tiny=entry(FILES, stage="stt", licence="MIT", metadata={"x": 1})))


def put(store: ModelStore, files: dict[str, bytes] = FILES, key: str = "tiny") -> None:
    for name, data in files.items():
        path = store.directory(key) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def counted_hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    hashed: list[str] = []
    take = FileMark.take

    def counting(path: Path) -> FileMark:
        hashed.append(path.name)
        return take(path)

    monkeypatch.setattr(FileMark, "take", counting)
    return hashed


def test_resolve_gives_paths_and_facts(store: ModelStore) -> None:
    put(store)
    files = store.resolve("tiny")
    assert files.name == "tiny" and Path(files.directory) == store.root / "tiny"
    assert {name: Path(path).read_bytes() for name, path in files.files.items()} == FILES
    assert files.metadata["x"] == 1 and files.metadata["stage"] == "stt" and files.metadata["licence"] == "MIT"
    assert files.metadata["sha256"]["model.bin"] == sha256(FILES["model.bin"])


def test_files_are_hashed_once_and_again_only_when_touched(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = counted_hashes(monkeypatch)
    put(store)
    assert store.state("tiny") == "unverified" and hashed == []
    store.resolve("tiny")
    assert sorted(hashed) == ["config.json", "model.bin"] and store.state("tiny") == "ready"
    ModelStore(store.root, store.catalog).resolve("tiny")
    assert len(hashed) == 2
    os.utime(store.root / "tiny" / "model.bin", ns=(1, 1))
    store.resolve("tiny")
    assert hashed[2:] == ["model.bin"]


def test_changed_content_is_refused_and_left_in_place(store: ModelStore) -> None:
    put(store)
    store.resolve("tiny")
    changed = store.root / "tiny" / "model.bin"
    changed.write_bytes(blob("other", 4000))
    os.utime(changed, ns=(1, 1))
    with pytest.raises(ModelCorrupt, match=f"wrong hash.*{sha256(FILES['model.bin'])}.*{sha256(blob('other', 4000))}"):
        store.resolve("tiny")
    changed.write_bytes(b"short")
    with pytest.raises(ModelCorrupt, match="wrong size"):
        store.resolve("tiny")
    assert changed.read_bytes() == b"short"


def test_changed_catalog_makes_old_marks_worthless(store: ModelStore) -> None:
    put(store)
    store.resolve("tiny")
    newer = ModelStore(store.root, catalog(tiny=entry({**FILES, "model.bin": blob("v2", 4000)})))
    assert newer.state("tiny") == "unverified"
    with pytest.raises(ModelCorrupt):
        newer.resolve("tiny")


def test_missing_names_the_command_and_the_air_gapped_way(store: ModelStore) -> None:
    with pytest.raises(ModelMissing, match="model 'tiny': not in the model store") as caught:
        store.resolve("tiny")
    assert "antiphon models pull tiny" in caught.value.hint
    assert "models export tiny" in caught.value.hint and "models import" in caught.value.hint
    assert store.state("tiny") == "missing" and not store.root.exists()
    put(store, {"model.bin": FILES["model.bin"]})
    with pytest.raises(ModelMissing, match=r"'sub/config.json' is missing"):
        store.resolve("tiny")
    assert store.state("tiny") == "partial"


def test_damaged_record_costs_a_hash_and_nothing_else(store: ModelStore) -> None:
    put(store)
    store.resolve("tiny")
    store.record_path("tiny").write_text("{broken")
    assert store.resolve("tiny").files and store.state("tiny") == "ready"


def test_read_only_store_still_resolves(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    put(store)
    monkeypatch.setattr("antiphon.engines.models.records.write_atomically", refuse)
    assert store.resolve("tiny").files
    assert not store.record_path("tiny").exists()


def test_path_to_file_and_folder(store: ModelStore, tmp_path: Path) -> None:
    folder = tmp_path / "own model"
    folder.mkdir()
    (folder / "voice.onnx").write_bytes(b"1")
    (folder / "voice.onnx.json").write_bytes(b"2")
    (folder / ".hidden").write_bytes(b"3")
    one = store.resolve(str(folder / "voice.onnx"))
    assert one.name == "voice" and dict(one.files) == {"voice.onnx": str(folder / "voice.onnx")}
    whole = store.resolve(str(folder))
    assert sorted(whole.files) == ["voice.onnx", "voice.onnx.json"] and whole.directory == str(folder)


def test_relative_path_wins_only_with_a_slash(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    put(store)
    (tmp_path / "tiny").write_bytes(b"x")
    assert store.resolve("tiny").directory == str(store.root / "tiny")
    assert store.resolve("./tiny").directory == str(tmp_path)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("tinny", r"unknown model 'tinny'. Did you mean 'tiny'\?"),
        ("./nowhere", "no file or folder"),
        ("", "unknown model ''|has no files|folder"),
        ("hub:owner", "not a hub reference"),
        ("hub:owner/name", "not a hub reference"),
        ("hub:owner/name@../../etc", "not a hub reference"),
        ("hub:../name@v1", "not a hub reference"),
    ],
)
def test_unknown_references(
    store: ModelStore, reference: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    with pytest.raises(UnknownModel, match=message):
        store.resolve(reference)


def test_hub_reference_that_was_not_pulled_is_missing(store: ModelStore) -> None:
    with pytest.raises(ModelMissing, match="hub:owner/name@v1") as caught:
        store.resolve("hub:owner/name@v1")
    assert "antiphon models pull hub:owner/name@v1" in caught.value.hint


def test_verify_hashes_again_whatever_the_marks_say(store: ModelStore) -> None:
    put(store)
    store.resolve("tiny")
    path = store.root / "tiny" / "model.bin"
    before = path.stat()
    path.write_bytes(blob("evil", 4000))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.resolve("tiny").files  # a change that hides is not seen at each start ...
    report = store.verify("tiny")  # ... but here
    assert not report.ok
    assert {file.name: file.state for file in report.files} == {"model.bin": "wrong hash", "sub/config.json": "ok"}
    with pytest.raises(ModelCorrupt):
        store.resolve("tiny")
    path.unlink()
    assert [file.state for file in store.verify("tiny").files] == ["missing", "ok"]


def test_derived_gives_a_path_in_an_existing_folder(store: ModelStore) -> None:
    path = store.derived("a" * 64, "cut-v1.onnx")
    assert path.parent.is_dir() and path.name == "cut-v1.onnx" and path.is_relative_to(store.root)
    path.write_bytes(b"x")
    assert store.derived("a" * 64, "cut-v1.onnx").read_bytes() == b"x"
    assert store.derived("b" * 64, "cut-v1.onnx") != path
    with pytest.raises(ValueError, match="not a SHA-256"):
        store.derived("../a", "x")
    with pytest.raises(ValueError, match="not a plain file name"):
        store.derived("a" * 64, "../x")


def test_derived_goes_to_the_cache_where_the_store_is_read_only(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store.root.write_text("a file where the store should be: nobody, not even root, can make a folder in it")
    path = store.derived("a" * 64, "cut.onnx")
    assert path.is_relative_to(tmp_path / "cache") and path.parent.is_dir()


def test_file_sha256_uses_the_records(store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store)
    store.resolve("tiny")
    hashed = counted_hashes(monkeypatch)
    assert store.file_sha256(store.root / "tiny" / "model.bin") == sha256(FILES["model.bin"])
    assert hashed == []
    (tmp_path / "own.bin").write_bytes(b"own")
    assert store.file_sha256(tmp_path / "own.bin") == sha256(b"own")


def test_home_and_the_users_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path))
    assert antiphon_home() == tmp_path and ModelStore().root == tmp_path / "models"
    assert list(default_catalog()) == list(Catalog.load())
    (tmp_path / "catalog.yaml").write_text(
        f"models: {{mine: {{files: {{a: {{size: 0, sha256: {sha256(b'')}}}}}}}}}", "utf-8"
    )
    assert "mine" in ModelStore().catalog
    monkeypatch.delenv("ANTIPHON_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert ModelStore().root == tmp_path / "home" / ".local" / "share" / "antiphon" / "models"
