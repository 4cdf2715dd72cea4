"""`scripts/bundle.py`: what it writes beside wheels and models, and its installer, run on a small bundle."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import platform
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

FAKE = """\
import sys
def main():
    print("fake", *sys.argv[1:])
"""


@pytest.fixture(scope="module")
def bundle() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        spec = importlib.util.spec_from_file_location("antiphon_bundle_script", SCRIPTS / "bundle.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules.pop("setup", None)
    return module


def write_wheel(folder: Path) -> Path:
    """A wheel of a program `antiphon` that says what it was asked."""
    about = "antiphon-9.9.dist-info"
    files = {
        "antiphon_fake.py": FAKE,
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: antiphon\nVersion: 9.9\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": "[console_scripts]\nantiphon = antiphon_fake:main\n",
    }
    record = "".join(f"{name},sha256={_b64(text)},{len(text)}\n" for name, text in files.items())
    path = folder / "antiphon-9.9-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in {**files, f"{about}/RECORD": f"{record}{about}/RECORD,,\n"}.items():
            wheel.writestr(name, text)
    return path


def _b64(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def packed(bundle: ModuleType, folder: Path, python: str = PYTHON, machine: str | None = None) -> Path:
    """A bundle of that wheel."""
    (folder / "wheels").mkdir(parents=True)
    write_wheel(folder / "wheels")
    (folder / "models.tar").write_bytes(b"models")
    (folder / "requirements.lock").write_text(bundle.locked(folder / "wheels"))
    (folder / "install.sh").write_text(bundle.INSTALL.format(python=python, machine=machine or platform.machine()))
    (folder / "SHA256SUMS").write_text(bundle.sums(folder))
    return folder


def install(folder: Path, target: Path) -> subprocess.CompletedProcess[str]:
    environment: dict[str, Any] = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "HOME": str(target.parent)}
    command = ["sh", str(folder / "install.sh"), str(target)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


def test_every_wheel_is_pinned_with_its_hash(bundle: ModuleType, tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path)
    (tmp_path / "typing_extensions-4.1-py3-none-any.whl").write_bytes(b"x")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert bundle.locked(tmp_path).splitlines() == [
        f"antiphon==9.9 --hash=sha256:{digest}",
        f"typing-extensions==4.1 --hash=sha256:{hashlib.sha256(b'x').hexdigest()}",
    ]


@pytest.mark.timeout(900)
def test_the_installer_installs_what_lies_beside_it(bundle: ModuleType, tmp_path: Path) -> None:
    folder = packed(bundle, tmp_path / "a bundle")
    done = install(folder, tmp_path / "target")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "install: every file is as it was packed",
        "fake models import models.tar",
        "fake models verify",
        f"install: done; {tmp_path}/target/bin/antiphon serve",
    ]


def test_a_file_that_was_changed_on_the_way_is_not_installed(bundle: ModuleType, tmp_path: Path) -> None:
    folder = packed(bundle, tmp_path / "bundle")
    (folder / "models.tar").write_bytes(b"others")
    done = install(folder, tmp_path / "target")
    assert done.returncode != 0 and "models.tar" in done.stdout + done.stderr
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"python": "2.7"}, "the wheels are for Python 2.7"), ({"machine": "s390x"}, "the wheels are for s390x")],
)
def test_another_python_or_machine_is_told(
    bundle: ModuleType, tmp_path: Path, wrong: dict[str, str], told: str
) -> None:
    done = install(packed(bundle, tmp_path / "bundle", **wrong), tmp_path / "target")
    assert done.returncode == 1 and told in done.stderr
    assert not (tmp_path / "target").exists()


def test_a_folder_that_holds_something_is_left_alone(
    bundle: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("mine")
    monkeypatch.setattr(sys, "argv", ["bundle.py", str(tmp_path)])
    assert bundle.main() == 2
    assert "is not empty" in capsys.readouterr().out
