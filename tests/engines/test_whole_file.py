"""Files that are there as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.engines.whole_file import whole_file


def test_it_appears_under_its_name_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    with whole_file(path, mode=0o600) as temporary:
        temporary.write_bytes(b"half")
        assert not path.exists() and temporary.parent == path.parent
    assert path.read_bytes() == b"half" and path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_when_writing_fails_the_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(LookupError), whole_file(path, suffix=".x") as temporary:
        assert temporary.name.endswith(".x")
        temporary.write_bytes(b"new")
        raise LookupError
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_in_its_place_is_told_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a folder"), whole_file(tmp_path):
        pytest.fail("began to write")
    assert not list(tmp_path.iterdir())
