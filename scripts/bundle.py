"""Collects all that a machine without a network needs to run Antiphon: wheels, models, and a script that installs them.

    python3 scripts/bundle.py out/bundle                          for machines with this processor and this Python
    python3 scripts/bundle.py out/bundle --portable               for any x86-64 processor with AVX2 (or any arm64)
    python3 scripts/bundle.py out/bundle --config my.yaml --extra postgres

Run it on a machine with a network and with the Python version of the other machine; copy the folder over (the models
make most of it), and run `sh install.sh /opt/antiphon` there. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import setup

EXTRAS = ("local", "agents", "memory", "policy", "server", "webrtc")
PORTABLE = "-DGGML_NATIVE=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON"
"""llama.cpp for every x86-64 processor of the last ten years, in place of this machine's own."""
ANTIPHON = setup.VENV / "bin" / "antiphon"

INSTALL = """\
#!/bin/sh
# Installs what lies beside it: sh install.sh [FOLDER]. Needs Python {python} (PYTHON=... names it); no network.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${{1:-/opt/antiphon}}
python=${{PYTHON:-python3}}
found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ "$found" != "{python}" ]; then
    echo "install: the wheels are for Python {python}, and $python is $found: name another with PYTHON=..." >&2
    exit 1
fi
if [ "$(uname -m)" != "{machine}" ]; then
    echo "install: the wheels are for {machine}, and this is $(uname -m)" >&2
    exit 1
fi
cd "$here"
sha256sum --check --quiet SHA256SUMS
echo "install: every file is as it was packed"
"$python" -m venv "$target"
"$target/bin/pip" install --quiet --disable-pip-version-check --no-index --find-links wheels --require-hashes \\
    --requirement requirements.lock
"$target/bin/antiphon" models import models.tar
"$target/bin/antiphon" models verify
echo "install: done; $target/bin/antiphon serve"
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="Collect what a machine without a network needs.")
    parser.add_argument("out", type=Path, help="the folder to make")
    parser.add_argument("--config", action="append", help="whose models come along; default: local.yaml and tiny.yaml")
    parser.add_argument("--extra", action="append", default=[], help="one more extra of antiphon, such as postgres")
    parser.add_argument("--portable", action="store_true", help="for other processors than this machine's")
    asked = parser.parse_args()
    out: Path = asked.out.absolute()
    if out.exists() and any(out.iterdir()):
        setup.say(f"{out} is not empty: name another folder, or remove it")
        return 2
    try:
        subprocess.run([sys.executable, setup.ROOT / "scripts" / "setup.py", "run"], check=True)
        wheels = out / "wheels"
        wheels.mkdir(parents=True)
        collect_wheels(wheels, (*EXTRAS, *asked.extra), portable=asked.portable)
        export_models(out / "models.tar", asked.config or ["local.yaml", "tiny.yaml"])
    except subprocess.CalledProcessError as error:
        setup.say(
            f"bundle failed: {' '.join(map(str, error.cmd[:6]))} ... ended with code {error.returncode}; see above"
        )
        return 1
    (out / "requirements.lock").write_text(locked(wheels))
    version = ".".join(platform.python_version_tuple()[:2])
    (out / "install.sh").write_text(INSTALL.format(python=version, machine=platform.machine()))
    (out / "SHA256SUMS").write_text(sums(out))
    size_mb = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6
    setup.say(f"{out}: {size_mb:.0f} MB, for Python {version} on {platform.machine()}")
    setup.say("copy it over, and run there: sh install.sh /opt/antiphon")
    return 0


def collect_wheels(folder: Path, extras: tuple[str, ...], *, portable: bool) -> None:
    """This checkout and all that it needs, as wheels: nothing is compiled on the other machine."""
    if portable and platform.machine().lower() in ("x86_64", "amd64"):
        os.environ["CMAKE_ARGS"] = f"{os.environ.get('CMAKE_ARGS', '')} {PORTABLE}".strip()
    elif portable:
        os.environ["CMAKE_ARGS"] = f"{os.environ.get('CMAKE_ARGS', '')} -DGGML_NATIVE=OFF".strip()
    shutil.copy2(setup.llama_wheel(), folder)
    setup.say(f"collecting the wheels of antiphon[{','.join(extras)}]")
    with setup.Clock("collecting"):
        wanted = f"{setup.ROOT}[{','.join(extras)}]"
        setup.pip("wheel", "--quiet", "--wheel-dir", str(folder), "--find-links", str(folder), wanted)


def export_models(archive: Path, configs: list[str]) -> None:
    named = [part for config in configs for part in ("--for", config)]
    subprocess.run([ANTIPHON, "models", "pull", *named], check=True)
    subprocess.run([ANTIPHON, "models", "export", *named, "--out", archive], check=True)


def locked(wheels: Path) -> str:
    """One line a wheel, with its hash: for `pip install --require-hashes`."""
    lines = []
    for wheel in sorted(wheels.glob("*.whl")):
        name, version = wheel.name.split("-")[:2]
        lines.append(f"{name.replace('_', '-')}=={version} --hash=sha256:{sha256(wheel)}\n")
    return "".join(lines)


def sums(folder: Path) -> str:
    """As `sha256sum` writes it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    return "".join(f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
