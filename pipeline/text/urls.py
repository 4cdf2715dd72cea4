"""URLs and e-mail addresses: found, protected from every other rule, and read as the user asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal
from urllib.parse import unquote

from antiphon.pipeline.text.clean import clean

UrlStyle = Literal["domain", "full", "skip"]

_STYLES = ("domain", "full", "skip")
_BODY = r"[^\s<>\"`|\ue000-\uf8ff\u2e80-\u9fff\uac00-\ud7af\uff00-\uffef]"
_TLD = "com|org|net|io|dev|ai|app|edu|gov|info|co|uk|de|fr|es|it|nl|eu|at|ch|pl|se|jp|cn|in|br|ru|us|ca|au|me|tv|xyz"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_URL = (
    rf"(?<![\w@])(?:(?:https?|ftps?|wss?|file|ssh|git)://{_BODY}{{1,2000}}|mailto:{_BODY}{{1,500}}|"
    rf"www\.{_BODY}{{1,2000}})"
)
_EMAIL = r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,5}[a-zA-Z]{2,24}(?![\w-])"
_BARE = rf"(?<![\w@./-])(?:{_LABEL}\.){{1,4}}(?:{_TLD})(?![\w-])(?!\.\w)(?::\d{{1,5}})?(?:/{_BODY}{{0,2000}})?"
_ADDRESS = re.compile(f"(?P<url>{_URL})|(?P<email>{_EMAIL})|(?P<bare>{_BARE})", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z]+:(?://)?", re.IGNORECASE)
_TRAILING = ".,;:!?'\"*_~]}>\\"
_SIGNS = {
    "/": "slash", "-": "dash", "_": "underscore", "?": "question mark", "=": "equals", "&": "and", "#": "hash",
    "+": "plus", "~": "tilde", ":": "colon", "@": "at", "%": "percent",
}  # fmt: skip
_SIGN = re.compile("[" + re.escape("".join(_SIGNS)) + "]")
_EMAIL_SIGNS = {".": "dot", "_": "underscore", "-": "dash", "+": "plus"}


def check_style(style: str) -> UrlStyle:
    """:raises ValueError: no such style."""
    for known in ("domain", "full", "skip"):
        if style == known:
            return known
    raise ValueError(f"urls: found '{style}'; allowed: {', '.join(_STYLES)}")


def protect_urls(text: str, style: UrlStyle, english: bool, protect: Callable[[str], str]) -> str:
    """Put a mark in place of each URL and e-mail address; `protect` keeps its spoken form and returns the mark."""

    def spoken(found: re.Match[str]) -> str:
        written = found.group()
        if found.lastgroup == "email":
            return protect(_spoken_email(written, english))
        if found.lastgroup == "bare" and "/" not in written:
            return protect(written)  # "example.com" alone is a name in a sentence: never skipped
        body, rest = _split_trailing(written)
        words = _spoken_url(body, style, english)
        return (protect(words) if words else "") + rest

    return _ADDRESS.sub(spoken, text) if "." in text or ":" in text else text


def _split_trailing(url: str) -> tuple[str, str]:
    """A URL and the punctuation after it: ")" belongs to it only if it opened it."""
    end = len(url)
    depth = url.count("(") - url.count(")")
    while end:
        if url[end - 1] == ")" and depth < 0:
            depth += 1
        elif url[end - 1] not in _TRAILING:
            break
        end -= 1
    return url[:end], url[end:]


def _spoken_url(url: str, style: UrlStyle, english: bool) -> str:
    if style == "skip":
        return ""
    bare = _SCHEME.sub("", url, count=1) if "://" in url[:12] or url[:7].casefold() == "mailto:" else url
    if url[:7].casefold() == "mailto:":
        return _spoken_email(bare.partition("?")[0], english)
    host, slash, path = bare.partition("/")
    host = re.split(r"[?#]", host.rpartition("@")[2], maxsplit=1)[0].partition(":")[0]
    if host[:4].casefold() == "www.":
        host = host[4:]
    if style == "domain":
        return host
    path = clean(unquote(path)).replace("\n", " ").strip("/ ")
    if not path:
        return host
    if not english:
        return f"{host}{slash}{path}"
    return " ".join(f"{host} slash {_SIGN.sub(lambda found: f' {_SIGNS[found.group()]} ', path)}".split())


def _spoken_email(address: str, english: bool) -> str:
    user, _, host = address.rpartition("@")
    if not english:
        return address
    return " ".join(f"{re.sub('[._+-]', lambda found: f' {_EMAIL_SIGNS[found.group()]} ', user)} at {host}".split())
