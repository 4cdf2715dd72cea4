"""Where configuration texts come from: packaged files, files on disk."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from antiphon.pipeline.config.errors import InvalidConfig, Origin, Problem, nearest
from antiphon.pipeline.config.tree import MAX_BYTES

DEFAULT = "local.yaml"


@dataclass(frozen=True, slots=True)
class Source:
    """One configuration text."""

    name: str
    """As a user would name it."""
    directory: Path
    """Relative paths in it count from here."""
    text: str
    identity: str
    """Equal for two ways of naming the same file."""


def packaged_names() -> list[str]:
    """The configurations that come with antiphon, such as "local.yaml"."""
    return sorted(item.name for item in resources.files("antiphon.configs").iterdir() if item.name.endswith(".yaml"))


def expanded(text: str) -> Path:
    """A path with its leading `~` resolved, where that names somebody."""
    try:
        return Path(text).expanduser()
    except (RuntimeError, ValueError):  # no such user, or none can have that name: a name like any other
        return Path(text)


def find_source(source: str | Path | None, place: Origin | None = None) -> Source:
    """Read a configuration: None is the packaged `local.yaml`; a path; or the bare name of a packaged one.

    :param place: who asks for it, for the error; None: the user did.
    :raises InvalidConfig: there is no such file, or it cannot be read as text.
    """
    if source is None:
        return _packaged(DEFAULT)
    path = expanded(str(source))
    try:
        is_there = path.exists() and not (path.is_dir() and _packaged_name(str(source)))
    except (OSError, ValueError):  # a name that no file can have
        is_there = False
    if is_there:
        return _on_disk(path, str(source))
    if name := _packaged_name(str(source)):
        return _packaged(name)
    raise InvalidConfig([Problem(_missing(path), place or Origin(str(source)), hint=_missing_hint(path))])


def find_base(reference: str, source: Source, place: Origin) -> Source:
    """What `extends: reference` in `source` means: a file beside it, else a packaged one of that name.

    A file that extends its own name means the packaged one: `local.yaml` may extend the packaged `local.yaml`.

    :raises InvalidConfig: there is no such file.
    """
    beside = source.directory / expanded(reference)
    name = _packaged_name(reference)
    try:
        itself = str(beside.resolve()) == source.identity
        is_there = beside.is_file()
    except (OSError, ValueError, RuntimeError):
        itself = is_there = False
    if name and (itself or not is_there):
        return _packaged(name)
    if is_there:
        shown = reference if Path(reference).is_absolute() else str(Path(source.name).parent / reference)
        return _on_disk(beside, shown)
    raise InvalidConfig([Problem(_missing(beside, reference), place, "extends", _missing_hint(beside))])


def _packaged_name(reference: str) -> str | None:
    name = reference if reference.endswith(".yaml") else f"{reference}.yaml"
    return name if name in packaged_names() else None


def _packaged(name: str) -> Source:
    item = resources.files("antiphon.configs") / name
    return Source(f"packaged {name}", Path(str(item)).parent, item.read_text(encoding="utf-8"), f"packaged:{name}")


def _on_disk(path: Path, shown: str) -> Source:
    if path.is_dir():
        raise InvalidConfig(
            [Problem("this is a folder, not a configuration file", Origin(shown), hint=_files_in(path))]
        )
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidConfig([Problem(f"cannot be read: {error.strerror or error}", Origin(shown))]) from None
    if len(content) > MAX_BYTES:
        raise InvalidConfig([Problem(f"larger than {MAX_BYTES >> 20} MiB: no configuration file", Origin(shown))])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = Problem(
            f"no UTF-8 text (byte 0x{content[error.start]:02X} at offset {error.start})",
            Origin(shown, line),
            hint="Save the file as UTF-8, and check that it is a configuration at all.",
        )
        raise InvalidConfig([problem]) from None
    resolved = path.resolve()
    return Source(shown, resolved.parent, text, str(resolved))


def _missing(path: Path, shown: str = "") -> str:
    return f"there is no file '{shown or path}'{nearest(path.name, _candidates(path))}"


def _missing_hint(path: Path) -> str:
    beside = difflib.get_close_matches(path.name, _siblings(path), 3, 0.5)
    near = f"In that folder: {', '.join(beside)}. " if beside else ""
    return f"{near}Packaged configurations, by name alone: {', '.join(packaged_names())}."


def _candidates(path: Path) -> list[str]:
    names = [*_siblings(path), *packaged_names()]
    return names if path.suffix else [Path(name).stem for name in names]


def _siblings(path: Path) -> list[str]:
    try:
        return sorted(item.name for item in path.parent.iterdir() if item.suffix in (".yaml", ".yml"))
    except (OSError, ValueError):
        return []


def _files_in(path: Path) -> str:
    names = _siblings(path / "x")
    return f"It holds {', '.join(names)}." if names else ""
