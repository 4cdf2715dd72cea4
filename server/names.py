"""Names of models and voices that clients ask for, and what they mean here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

OWN = "default"
"""The configured one."""


class UnknownName(LookupError):
    """Raised for a name that means nothing here."""


def resolve(wanted: str | None, own: Sequence[str], aliases: Mapping[str, str]) -> str | None:
    """What a name means: one of `own`, or None for what is configured.

    :param own: the names that are known without aliases.
    :param aliases: by name; `*` is any other. A meaning is a name of `own`, or "default".
    :raises UnknownName: it is none of all that.
    """
    if wanted is None or wanted == OWN:
        return None
    if wanted in own:
        return wanted
    meaning = aliases.get(wanted, aliases.get("*"))
    if meaning is None:
        known = ", ".join([*own, *(name for name in aliases if name != "*")]) or "none"
        raise UnknownName(f"'{wanted}' is not known here; known: {known}")
    return None if meaning == OWN else meaning
