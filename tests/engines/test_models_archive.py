"""Archives for machines without a network, and tidying the store."""

from __future__ import annotations

import errno
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from model_sources import blob, catalog, entry, sha256

from antiphon.engines.errors import ModelCorrupt, ModelError, ModelMissing, StoreFull, UnknownModel
from antiphon.engines.models import archive as archive_module
from antiphon.engines.models import files as files_module
from antiphon.engines.models.archive import MANIFEST, Manifest, export_models, import_models
from antiphon.engines.models.catalog import Catalog
from antiphon.engines.models.prune import find_leftovers, remove_leftovers
from antiphon.engines.models.store import ModelStore

FILES = {"config.json": b'{"a": 1}', "sub/model.bin": blob("model", 300_000)}
OTHER = {"voice.onnx": blob("voice", 5000)}
ENTRIES = catalog(
    tiny=entry(
        FILES, {"kind": "path", "path": "/home/somebody/models"}, {"kind": "hub", "repo": "a/b", "revision": "v"}
    ),
    voice=entry(OTHER, stage="tts", licence="CC0-1.0", metadata={"speakers": 2}),
)


def put(store: ModelStore, key: str, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = store.directory(key) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.fixture
def full(tmp_path: Path) -> ModelStore:
    store = ModelStore(tmp_path / "full", ENTRIES)
    put(store, "tiny", FILES)
    put(store, "voice", OTHER)
    return store


@pytest.fixture
def empty(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "empty", ENTRIES)


def contents(store: ModelStore, name: str) -> dict[str, bytes]:
    return {file: Path(path).read_bytes() for file, path in store.resolve(name).files.items()}


def is_untouched(store: ModelStore) -> bool:
    return not [path for path in store.root.rglob("*") if path.is_file() and path.suffix != ".lock"]


# --------------------------------------------------------------------------------------- export


def test_models_travel(full: ModelStore, empty: ModelStore, tmp_path: Path) -> None:
    out = tmp_path / "models.tar"
    assert export_models(full, ["tiny", "voice"], out) == out.stat().st_size
    imported = import_models(empty, out)
    assert [(item.name, item.changed, item.in_catalog) for item in imported] == [
        ("tiny", True, True),
        ("voice", True, True),
    ]
    assert contents(empty, "tiny") == FILES and contents(empty, "voice") == OTHER
    assert empty.state("tiny") == "ready" and not list((empty.root / ".staging").iterdir())
    assert [item.changed for item in import_models(empty, out)] == [False, False]


def test_archive_is_the_same_each_time_and_tells_nothing_of_this_machine(full: ModelStore, tmp_path: Path) -> None:
    export_models(full, ["tiny"], tmp_path / "a.tar")
    os.utime(full.root / "tiny" / "config.json", ns=(1, 1))
    export_models(full, ["tiny"], tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    assert b"somebody" not in (tmp_path / "a.tar").read_bytes()


def test_model_that_the_other_machine_does_not_know(full: ModelStore, tmp_path: Path) -> None:
    export_models(full, ["voice"], tmp_path / "a.tar")
    stranger = ModelStore(tmp_path / "stranger", Catalog({}))
    (item,) = import_models(stranger, tmp_path / "a.tar")
    assert not item.in_catalog
    assert contents(stranger, "voice") == OTHER and stranger.names() == ["voice"]
    assert stranger.resolve("voice").metadata["speakers"] == 2
    export_models(stranger, ["voice"], tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_compressed_archive_is_read_too(full: ModelStore, empty: ModelStore, tmp_path: Path) -> None:
    import gzip

    export_models(full, ["voice"], tmp_path / "a.tar")
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes()))
    import_models(empty, tmp_path / "a.tar.gz")
    assert contents(empty, "voice") == OTHER


def test_export_refuses_what_is_not_right(full: ModelStore, empty: ModelStore, tmp_path: Path) -> None:
    out = tmp_path / "a.tar"
    with pytest.raises(UnknownModel):
        export_models(full, ["tinny"], out)
    with pytest.raises(ModelMissing, match="antiphon models pull tiny"):
        export_models(empty, ["tiny"], out)
    (full.root / "tiny" / "sub" / "model.bin").write_bytes(blob("evil", 300_000))
    with pytest.raises(ModelCorrupt, match=f"expected SHA-256 {sha256(FILES['sub/model.bin'])}"):
        export_models(full, ["tiny"], out)
    with pytest.raises(ModelError, match=r"cannot write the archive .*No such file"):
        export_models(full, ["voice"], tmp_path / "nowhere" / "a.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


def test_export_to_a_full_disk(full: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archive_module, "_export_file", full_disk)
    with pytest.raises(StoreFull, match="No space left"):
        export_models(full, ["tiny"], tmp_path / "a.tar")
    assert not list(tmp_path.glob("a.tar*"))


# --------------------------------------------------------------------------------------- import


def forge(path: Path, members: list[tuple[str | tarfile.TarInfo, bytes]], manifest: Any = None) -> Path:
    """An archive with this manifest (default: tiny, as in the catalog) and these members."""
    if manifest is None:
        manifest = json.loads(Manifest(models={"tiny": ENTRIES["tiny"]}).model_dump_json())
    head = (MANIFEST, json.dumps(manifest).encode())
    with tarfile.open(path, "w") as archive:
        for name, data in [head, *members]:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


GOOD = [(f"tiny/{name}", data) for name, data in FILES.items()]


def special(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


@pytest.mark.parametrize(
    "member",
    [
        ("../escaped", b"x"),
        ("tiny/../../escaped", b"x"),
        ("/tmp/escaped", b"x"),
        ("tiny/extra.bin", b"x"),
        ("tiny/config.json", FILES["config.json"]),
        (special("tiny/link", tarfile.SYMTYPE, "/etc/passwd"), b""),
        (special("tiny/hard", tarfile.LNKTYPE, "tiny/config.json"), b""),
        (special("tiny/folder", tarfile.DIRTYPE, ""), b""),
        (special("tiny/device", tarfile.CHRTYPE, ""), b""),
    ],
    ids=lambda member: member[0] if isinstance(member[0], str) else member[0].name,
)
def test_members_that_nobody_announced_are_refused(empty: ModelStore, tmp_path: Path, member: Any) -> None:
    bad = forge(tmp_path / "bad.tar", [GOOD[0], member, GOOD[1]])
    with pytest.raises(ModelError, match=r"refused: member .*(not in the archive's manifest|no plain file)"):
        import_models(empty, bad)
    assert is_untouched(empty) and not (tmp_path / "escaped").exists() and not Path("/tmp/escaped").exists()


def test_link_in_place_of_an_announced_file(empty: ModelStore, tmp_path: Path) -> None:
    bad = forge(tmp_path / "bad.tar", [(special("tiny/config.json", tarfile.SYMTYPE, "/etc/passwd"), b""), GOOD[1]])
    with pytest.raises(ModelError, match="no plain file"):
        import_models(empty, bad)
    assert is_untouched(empty)


def manifest_with(change: Callable[[dict[str, Any]], None]) -> Any:
    document = json.loads(Manifest(models={"new": ENTRIES["voice"]}).model_dump_json())
    change(document)
    return document


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (
            manifest_with(lambda d: d["models"].update({"../up": d["models"]["new"]})),
            r"models\.\.\./up.*must be a name",
        ),
        (manifest_with(lambda d: d["models"].update({".staging": d["models"]["new"]})), "must be a name"),
        (
            manifest_with(lambda d: d["models"]["new"]["files"].update({"../../x": {"size": 1, "sha256": "a" * 64}})),
            r"files\.\.\./\.\./x: must not contain",
        ),
        (manifest_with(lambda d: d["models"].clear()), "at least 1"),
        (manifest_with(lambda d: d.update(format="antiphon-models/9")), "antiphon-models/1"),
        (manifest_with(lambda d: d.update(more=1)), "Extra"),
    ],
)
def test_bad_manifests_are_refused(empty: ModelStore, tmp_path: Path, manifest: Any, message: str) -> None:
    with pytest.raises(ModelError, match=f"the archive's manifest is refused: .*{message}"):
        import_models(empty, forge(tmp_path / "bad.tar", [], manifest))
    assert is_untouched(empty)


def test_known_model_with_other_hashes_is_refused(empty: ModelStore, tmp_path: Path) -> None:
    evil = {**FILES, "config.json": b'{"a": 2}'}
    manifest = json.loads(Manifest(models={"tiny": entry(evil)}).model_dump_json())
    bad = forge(tmp_path / "bad.tar", [(f"tiny/{name}", data) for name, data in evil.items()], manifest)
    with pytest.raises(ModelCorrupt, match="not the model that the catalog calls so"):
        import_models(empty, bad)
    assert is_untouched(empty)


def test_content_that_is_wrong_short_or_missing_changes_nothing(empty: ModelStore, tmp_path: Path) -> None:
    wrong = blob("evil", 300_000)
    with pytest.raises(ModelCorrupt, match=f"'tiny/sub/model.bin' is not the right file.*found {sha256(wrong)}"):
        import_models(empty, forge(tmp_path / "1.tar", [GOOD[0], ("tiny/sub/model.bin", wrong)]))
    with pytest.raises(ModelCorrupt, match="has 3 bytes, expected 300000"):
        import_models(empty, forge(tmp_path / "2.tar", [GOOD[0], ("tiny/sub/model.bin", b"abc")]))
    with pytest.raises(ModelError, match=r"ends without 'tiny/sub/model.bin'"):
        import_models(empty, forge(tmp_path / "3.tar", [GOOD[0]]))
    assert is_untouched(empty)


def test_truncated_archive_and_things_that_are_none(full: ModelStore, empty: ModelStore, tmp_path: Path) -> None:
    export_models(full, ["tiny"], tmp_path / "a.tar")
    data = (tmp_path / "a.tar").read_bytes()
    for length in (0, 100, 600, 5000, 200_000):
        (tmp_path / "cut.tar").write_bytes(data[:length])
        with pytest.raises(ModelError):
            import_models(empty, tmp_path / "cut.tar")
        assert is_untouched(empty)
    (tmp_path / "text.tar").write_text("hello " * 1000)
    with pytest.raises(ModelError, match="not a model archive"):
        import_models(empty, tmp_path / "text.tar")
    with tarfile.open(tmp_path / "plain.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("tiny/config.json"))
    with pytest.raises(ModelError, match=r"does not begin with antiphon-models.json"):
        import_models(empty, tmp_path / "plain.tar")
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        import_models(empty, tmp_path / "absent.tar")


def test_import_onto_a_full_disk(empty: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(file: Any, chunk: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files_module, "write_chunk", full_disk)
    with pytest.raises(StoreFull):
        import_models(empty, forge(tmp_path / "a.tar", GOOD))
    assert is_untouched(empty)


# ---------------------------------------------------------------------------------------- prune


def test_prune_finds_what_no_model_needs(full: ModelStore) -> None:
    full.verify("tiny")
    full.verify("voice")
    assert find_leftovers(full) == []
    put(full, ".staging/tiny/abc", {"model.bin": b"half"})
    put(full, "old-model", {"weights.bin": b"12345"})
    put(full, "tiny", {"notes.txt": b"mine"})
    full.derived(sha256(FILES["sub/model.bin"]), "cut.onnx").write_bytes(b"kept")
    full.derived("a" * 64, "cut.onnx").write_bytes(b"gone")
    (full.root / ".records" / "ghost.json").write_text("{}")
    found = {left.path.relative_to(full.root).as_posix(): (left.kind, left.size) for left in find_leftovers(full)}
    assert found == {
        ".staging/tiny": ("partial", 4),
        "old-model": ("unknown", 5),
        "tiny/notes.txt": ("unknown", 4),
        f".derived/{'a' * 64}": ("derived", 4),
        ".records/ghost.json": ("record", 2),
    }
    assert {left.kind for left in find_leftovers(full, derived=True)} == {"partial", "unknown", "derived", "record"}
    assert len(find_leftovers(full, derived=True)) == 6
    assert remove_leftovers(full, find_leftovers(full)) == 19
    assert find_leftovers(full) == [] and contents(full, "tiny") == FILES
    assert (full.root / ".derived" / sha256(FILES["sub/model.bin"]) / "cut.onnx").exists()


def test_prune_leaves_a_running_pull_alone(full: ModelStore) -> None:
    put(full, ".staging/tiny/abc", {"model.bin": b"half"})
    (seen,) = find_leftovers(full)
    with FileLock(full.root / ".locks" / "tiny.lock"):
        assert find_leftovers(full) == []
        assert remove_leftovers(full, [seen]) == 0
    assert (full.root / ".staging" / "tiny" / "abc" / "model.bin").exists()


def test_prune_follows_no_link(full: ModelStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"x")
    (full.root / "link").symlink_to(outside)
    remove_leftovers(full, find_leftovers(full))
    assert not (full.root / "link").is_symlink() and (outside / "precious").exists()


def test_prune_of_a_store_that_is_not_there(empty: ModelStore) -> None:
    assert find_leftovers(empty) == [] and not empty.root.exists()
