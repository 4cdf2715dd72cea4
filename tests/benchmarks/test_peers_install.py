"""The peers' environments, and the commands about them. pip is the real one; its index is a folder."""

from __future__ import annotations

import json
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from antiphon.benchmarks.peers import catalog
from antiphon.benchmarks.peers.catalog import PeerSpec, find_peer
from antiphon.benchmarks.peers.errors import PeerFailed, PeerMissing
from antiphon.benchmarks.peers.install import MARK, install, installed, peer_python
from antiphon.pipeline.cli import app

SPEC = PeerSpec("tiny peer", "tiny", "A peer of one line", "MIT", ("tinypeer[extra]==1.0",), "run_tiny.py")


def wheel(folder: Path, version: str) -> None:
    """A distribution of one module, as an index would give it."""
    name = f"tinypeer-{version}"
    with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as archive:
        archive.writestr("tinypeer.py", f"VERSION = {version!r}\n")
        archive.writestr(
            f"{name}.dist-info/METADATA",
            f"Metadata-Version: 2.1\nName: tinypeer\nVersion: {version}\nProvides-Extra: extra\n",
        )
        archive.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{name}.dist-info/RECORD", "")


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Arguments that make pip's only index a folder with two versions."""
    folder = tmp_path / "index"
    folder.mkdir()
    for version in ("1.0", "2.0"):
        wheel(folder, version)
    return ("--no-index", "--find-links", str(folder))


def test_an_environment_is_made_once_and_again_when_it_is_outdated(tmp_path: Path, pip: tuple[str, ...]) -> None:
    folder = tmp_path / "peers"
    assert installed(SPEC, folder) is None
    with pytest.raises(PeerMissing, match="tiny peer is not installed"):
        peer_python(SPEC, folder)

    said: list[str] = []
    found = install(SPEC, folder, said.append, pip=pip)
    assert found.versions == {"tinypeer": "1.0"} and found.current and found == installed(SPEC, folder)
    assert any("tinypeer" in line for line in said)
    done = subprocess.run(
        [peer_python(SPEC, folder), "-c", "import tinypeer; print(tinypeer.VERSION)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "1.0"

    said.clear()
    assert install(SPEC, folder, said.append, pip=pip) == found
    assert said == [], "nothing was done"

    newer = replace(SPEC, requirements=("tinypeer==2.0",))
    outdated = installed(newer, folder)
    assert outdated is not None and not outdated.current
    with pytest.raises(PeerMissing, match="in another version"):
        peer_python(newer, folder)
    assert install(newer, folder, said.append, pip=pip).versions == {"tinypeer": "2.0"}


@pytest.mark.parametrize("mark", ["", "[]", '{"requirements": 3}', '{"requirements": ["tinypeer"]}'])
def test_a_mark_that_cannot_be_read_is_no_installation(tmp_path: Path, mark: str) -> None:
    (tmp_path / "tiny" / "bin").mkdir(parents=True)
    (tmp_path / "tiny" / "bin" / "python").touch()
    (tmp_path / "tiny" / MARK).write_text(mark)
    assert installed(SPEC, tmp_path) is None


def test_pips_last_words_are_told_and_what_was_left_unfinished_is_made_anew(
    tmp_path: Path, pip: tuple[str, ...]
) -> None:
    absent = replace(SPEC, requirements=("tinypeer==9.9",))
    with pytest.raises(PeerFailed, match="tiny peer could not be installed: pip ended with status 1") as caught:
        install(absent, tmp_path, lambda line: None, pip=pip)
    assert "tinypeer==9.9" in caught.value.hint
    assert installed(absent, tmp_path) is None

    leftover = tmp_path / "tiny" / "leftover"
    leftover.touch()
    install(SPEC, tmp_path, lambda line: None, pip=pip)
    assert not leftover.exists() and (tmp_path / "tiny" / MARK).is_file()


# ------------------------------------------------------------------------------------------ the commands

INDEX = (
    "file\tkind\tlang\tseconds\tspeech_start_s\tspeech_end_s\tpauses_ms\ttranscript\tlicence\tsource\n"
    "a.wav\ttone\ten\t1.0\t0.2\t0.5\t\t\t\t\n"
)


def command(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(word) for word in words])
    return done.exit_code, done.output


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "index.tsv").write_text(INDEX)
    (folder / "a.wav").touch()
    return folder


def test_peers_are_installed_and_listed(tmp_path: Path, pip: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "PEERS", (SPEC,))
    monkeypatch.setattr("antiphon.pipeline.cli.bench_peers.PEERS", (SPEC,))
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # the user's own settings of pip
    monkeypatch.setenv("PIP_FIND_LINKS", pip[-1])
    folder = tmp_path / "peers"

    code, said = command("bench", "peers", "list", "--folder", folder, "--json")
    assert code == 0 and [row["installed"] for row in json.loads(said)] == [False]
    code, said = command("bench", "peers", "install", "tiny", "--folder", folder)
    assert code == 0 and "tiny peer: A peer of one line (MIT)" in said and "tinypeer 1.0" in said
    code, said = command("bench", "peers", "list", "--folder", folder, "--json")
    (row,) = json.loads(said)
    assert code == 0 and row["versions"] == {"tinypeer": "1.0"} and row["key"] == "tiny" and not row["outdated"]
    code, said = command("bench", "peers", "list", "--folder", folder)
    assert code == 0 and "tiny peer" in said and "realtime=URL" in said


def test_an_unknown_peer_is_named_with_the_known_ones() -> None:
    code, said = command("bench", "peers", "install", "alexa")
    assert code == 2 and "no peer 'alexa'" in said and find_peer("livekit").name in said


@pytest.mark.parametrize(
    ("more", "told", "code"),
    [
        (["--peer", "alexa"], "no peer 'alexa'", 2),
        (["--peer", "livekit"], "the peer livekit is not installed", 3),
        (["--peer", "realtime"], "a Realtime server needs its URL", 2),
        (["--peer", "realtime=wss://voice.example.com/v1"], "is not on this machine", 2),
        (["--peer", "livekit", "--concurrency", "2"], "one conversation at a time", 2),
    ],
)
def test_a_run_with_a_peer_that_cannot_be_measured(
    tmp_path: Path, clips: Path, more: list[str], told: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.benchmarks.peers.choose.default_folder", lambda: tmp_path / "none")
    words = ["bench", "run", "tiny.yaml", "--clips", str(clips), "--out", str(tmp_path / "out"), *more]
    found, said = command(*words)
    assert found == code, said
    assert told in said
    assert not (tmp_path / "out").exists()
