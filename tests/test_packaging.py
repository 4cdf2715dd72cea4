"""What is shipped: the import name, the wheel, what works with nothing installed, and what no file may contain."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FOLDERS = ("adapters", "benchmarks", "configs", "engines", "pipeline", "server")
ENGINE_PACKAGES = (
    "faster_whisper", "ctranslate2", "llama_cpp", "onnx", "onnxruntime", "piper", "webrtcvad", "openai", "agents",
    "sounddevice", "starlette", "fastapi", "uvicorn", "websockets", "jiwer", "whisper_normalizer", "json_repair",
    "jinja2",
)  # fmt: skip
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

HIDE = f"""
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ENGINE_PACKAGES!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
import importlib.util
really = importlib.util.find_spec
hidden = {ENGINE_PACKAGES!r}
importlib.util.find_spec = lambda name, *rest: None if name.partition(".")[0] in hidden else really(name, *rest)
def no_network(event, arguments):
    if event.startswith("socket.") and event != "socket.__new__":
        raise SystemExit(f"the network was used: {{event}} {{arguments}}")
sys.addaudithook(no_network)
"""


def python(code: str, *, cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
    """Run code in a fresh interpreter; its output, without the last line break."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd or ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name]


# ---------------------------------------------------------------------------------- the import name


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imported_by_the_wrong_name_says_the_right_one(folder: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        f"try:\n    import {folder}\nexcept ImportError as error:\n    print(error)"
    )
    assert python(code).startswith(
        f"this folder is the package 'antiphon.{folder}': import it by that name (pip install"
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_is_part_of_the_package(folder: str) -> None:
    link = ROOT / "src" / "antiphon" / folder
    assert link.is_symlink() and link.readlink() == Path("..") / ".." / folder


# -------------------------------------------------------------------------------------------- the wheel


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel and a source archive of the tracked files, and a wheel of that archive; no network is needed."""
    tree = tmp_path_factory.mktemp("tree")
    for path in tracked():
        target = tree / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            target.symlink_to(path.readlink())
        elif path.exists():
            target.write_bytes(path.read_bytes())
    build = "from setuptools import build_meta as b; import os; os.makedirs('dist'); print(b.{0}('dist'), flush=True)"
    sdist = tree / "dist" / python(build.format("build_sdist"), cwd=tree).splitlines()[-1]
    (tree / "dist").rename(tree / "sdist")
    sdist = tree / "sdist" / sdist.name
    wheel = tree / "dist" / python(build.format("build_wheel"), cwd=tree).splitlines()[-1]
    again = tmp_path_factory.mktemp("again")
    with tarfile.open(sdist) as archive:
        archive.extractall(again, filter="data")
    source = next(again.iterdir())
    second = source / "dist" / python(build.format("build_wheel"), cwd=source).splitlines()[-1]
    return {"wheel": wheel, "sdist": sdist, "wheel of the sdist": second}


def in_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def in_tree() -> set[str]:
    """What a wheel must hold: every tracked module, and the data that the code reads."""
    found = {str(path.relative_to(ROOT / "src")) for path in tracked("src/antiphon") if not path.is_symlink()}
    for folder in FOLDERS:
        for path in tracked(folder):
            if path.suffix in (".py", ".yaml", ".json") or "static" in path.parts:
                found.add(f"antiphon/{path.relative_to(ROOT)}")
    return found


def test_the_wheel_is_the_tree(built: dict[str, Path]) -> None:
    assert in_wheel(built["wheel"]) == in_tree()


def test_the_source_archive_makes_the_same_wheel(built: dict[str, Path]) -> None:
    assert in_wheel(built["wheel of the sdist"]) == in_wheel(built["wheel"])


def test_the_wheel_has_its_data_its_licence_and_its_command(built: dict[str, Path]) -> None:
    names = in_wheel(built["wheel"])
    assert {"antiphon/py.typed", "antiphon/configs/local.yaml", "antiphon/engines/models/catalog.yaml"} <= names
    assert not any(name.startswith(FOLDERS) for name in names), "nothing beside the one package"
    with zipfile.ZipFile(built["wheel"]) as archive:
        inside = {name.partition(".dist-info/")[2]: name for name in archive.namelist()}
        assert "Apache License" in archive.read(inside["licenses/LICENSE"]).decode()
        assert "antiphon = antiphon.pipeline.cli:main" in archive.read(inside["entry_points.txt"]).decode()
        metadata = archive.read(inside["METADATA"]).decode()
    assert "License-Expression: Apache-2.0" in metadata and "Requires-Python: >=3.11" in metadata


def test_the_wheel_works_without_the_tree(built: dict[str, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(built["wheel"]) as archive:
        archive.extractall(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import antiphon; print(antiphon.__file__); print(antiphon.load_config('tiny.yaml').llm[0].engine)\n"
        "from antiphon.engines.models.store import default_catalog; print(len(default_catalog()))"
    )
    where, engine, models = python(code, cwd=tmp_path).splitlines()
    assert Path(where).is_relative_to(tmp_path) and engine == "llama_cpp" and int(models) >= 7


# ------------------------------------------------------------------------- with nothing installed


def test_importing_is_light_and_silent() -> None:
    code = HIDE + "import antiphon, json; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(python(code)))
    heavy = {"numpy", "pydantic", "yaml", "rich", "typer", "soundfile", "soxr", "asyncio"}
    assert loaded & heavy == set()


def test_the_library_imports_without_any_engine_package() -> None:
    code = (
        HIDE + "import antiphon\n"
        "agents = {'SingleAgentVoiceWorkflow', 'SingleAgentWorkflowCallbacks', 'VoiceWorkflowHelper'}\n"
        "for name in antiphon.__all__:\n"
        "    if name not in agents:\n"
        "        getattr(antiphon, name)\n"
        "print(antiphon.VoicePipeline().config.llm[0].engine, *sorted(set(dir(antiphon)) ^ set(antiphon.__all__)))"
    )
    assert python(code).strip() == "llama_cpp"


def test_every_module_imports_without_any_engine_package() -> None:
    code = (
        HIDE + "import antiphon, importlib, pkgutil\n"
        "for module in pkgutil.walk_packages(antiphon.__path__, 'antiphon.'):\n"
        "    framed = module.name.startswith(('antiphon.adapters.', 'antiphon.pipeline.agent.', 'antiphon.server.'))\n"
        "    if not framed and not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "        print(module.name)"
    )
    assert len(python(code).splitlines()) > 100


@pytest.mark.parametrize("name", ["SingleAgentVoiceWorkflow", "SingleAgentWorkflowCallbacks", "VoiceWorkflowHelper"])
def test_the_agents_bridge_without_its_package_says_what_to_install(name: str) -> None:
    code = HIDE + f"try:\n    from antiphon import {name}\nexcept ImportError as error:\n    print(error)"
    said = python(code)
    assert said == f'antiphon.{name} needs the Python package openai-agents: pip install "antiphon[agents]"'


def test_a_missing_engine_package_is_named_with_its_install_command() -> None:
    code = (
        HIDE + "import asyncio\n"
        "from antiphon import AntiphonError, VoicePipeline\n"
        "async def main():\n"
        "    async with VoicePipeline(config='tiny.yaml'): pass\n"
        "try:\n    asyncio.run(main())\nexcept AntiphonError as error:\n    print(error)"
    )
    said = python(code)
    assert "needs the Python package onnxruntime" in said and 'pip install "antiphon[local-core]"' in said


def test_an_unknown_name_is_an_ordinary_error() -> None:
    import antiphon

    with pytest.raises(AttributeError, match="no attribute 'VoicePipelin'"):
        antiphon.VoicePipelin  # noqa: B018


def test_the_version_is_the_projects() -> None:
    command = Path(sys.executable).with_name("antiphon")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert PROJECT["version"] in done.stdout


# --------------------------------------------------------------------------------------- dependencies


def requirements(extra: str) -> set[str]:
    """Names of the distributions of an extra, extras in extras followed; "" for the base."""
    listed = PROJECT["dependencies"] if not extra else PROJECT["optional-dependencies"][extra]
    found: set[str] = set()
    for text in listed:
        requirement = Requirement(text)
        if requirement.name == "antiphon":
            found = found.union(*(requirements(inner) for inner in requirement.extras))
        else:
            found.add(canonicalize_name(requirement.name))
    return found


def test_the_extras_are_those_that_are_documented() -> None:
    extras = PROJECT["optional-dependencies"]
    assert set(extras) == {
        "local", "local-core", "piper", "cloud", "mic", "echo", "wake", "agents", "policy", "memory", "postgres",
        "server", "bench", "dev", "wyoming", "webrtc", "telemetry",
    }  # fmt: skip
    assert requirements("local") == requirements("local-core") | requirements("piper")
    assert {"faster-whisper", "llama-cpp-python", "onnxruntime", "webrtcvad-wheels"} <= requirements("local-core")
    assert requirements("cloud") == {"openai"} and "openai-agents" in requirements("agents")
    assert "piper-tts" not in requirements("") | requirements("local-core"), "GPL-3.0 comes only when asked for"


def test_every_engine_names_the_extra_that_brings_its_packages() -> None:
    from antiphon.engines.registry import BUILTINS

    providers = importlib.metadata.packages_distributions()
    for spec in BUILTINS:
        brought = requirements(spec.extra) | requirements("") if spec.extra else requirements("")
        for package in spec.packages:
            names = {canonicalize_name(name) for name in providers[package]}
            names |= {"faster-whisper"} & brought if package == "ctranslate2" else set()
            assert names & brought, f"{spec.stage}.{spec.name}: {package} does not come with [{spec.extra}]"
        assert spec.licence or not spec.packages


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_every_import_of_the_product_is_a_declared_dependency() -> None:
    declared = set().union(requirements(""), *(requirements(extra) for extra in PROJECT["optional-dependencies"]))
    brought = {
        "ctranslate2": "faster-whisper",
        "tokenizers": "faster-whisper",
        "annotated_types": "pydantic",
        "pydantic_core": "pydantic",
    }
    providers = importlib.metadata.packages_distributions()
    for folder in FOLDERS:
        for path in tracked(f"{folder}/*.py"):
            if path.parent.name == "drivers":  # they run in the peers' own environments: test_peers_wire.py
                continue
            for name in set(imported(path)) - set(sys.stdlib_module_names) - {"antiphon"}:
                names = {canonicalize_name(one) for one in providers.get(name, [])} | {brought.get(name, "")}
                assert names & declared, f"{path.relative_to(ROOT)} imports {name}, which no extra brings"


# --------------------------------------------------------------------------------------- the layers


def test_the_layers_are_kept() -> None:
    # In a process of its own: it sets up logging for itself.
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# --------------------------------------------------------------------------------- texts and records


def text_files() -> list[Path]:
    known = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".json", ".cfg", ""}
    return [path for path in tracked() if path.suffix in known and path.is_file() and not path.is_symlink()]


def test_no_file_names_this_machine_or_its_mirrors() -> None:
    private = {f"{path}/" for path in (ROOT, ROOT.parent, Path.home()) if len(path.parts) > 2}
    configured = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout + json.dumps(dict(os.environ))
    hosts = set(re.findall(r"https?://(?:[^/@\s'\"]+@)?([\w.-]+\.[\w-]+)", configured))
    public = ("pypi.org", "pythonhosted.org", "github.com", "huggingface.co", "openai.com", "127.0.0.1", "python.org")
    private |= {host for host in hosts if not host.endswith(public)}
    wrong = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in text_files()
        for word in private
        if word in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert wrong == []


LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.M | re.S)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [str(path.relative_to(ROOT)) for path in tracked("*.md")])
def test_every_link_leads_somewhere(page: str) -> None:
    path = ROOT / page
    for link in LINK.findall(CODE.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{page}: {link}"
        assert not anchor or anchor in anchors(target), f"{page}: {link}"


def test_every_page_is_reached_from_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    linked = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in LINK.findall(index)}
    assert {path for path in tracked("docs/*.md", "docs/**/*.md") if path.name != "index.md"} <= linked


def test_the_make_targets_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.M))
    assert {"setup", "demo", "test", "lint", "bench", "soak", "interop"} <= targets
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_changelog_begins_with_what_is_to_come() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## \[Unreleased\]$", changelog, re.M) and "keepachangelog.com" in changelog
