"""The console's colours keep their contrast, in light and dark (WCAG 2.2, 1.4.3 and 1.4.11, AA)."""

from __future__ import annotations

import re

import pytest

from antiphon.server.console.files import FOLDER

CSS = (FOLDER / "css" / "base.css").read_text(encoding="utf-8")
TEXT = [
    *(
        (ink, ground)
        for ink in ("ink", "soft", "link", "you", "them", "bad", "good", "warn")
        for ground in ("page", "card")
    ),
    *((ink, "tint") for ink in ("ink", "soft")),
    *(("on", ground) for ground in ("you", "them", "good", "bad")),
    *((kind, f"{kind}-tint") for kind in ("you", "them", "good", "bad", "warn")),
    ("card", "ink"),
]
MARKS = [
    (mark, ground)
    for mark in ("edge", "wait", "stt", "llm", "clause", "tts", "sink")
    for ground in ("page", "card")
]  # fmt: skip


def palette(theme: str) -> dict[str, str]:
    light = re.search(r":root \{(.*?)\n\}", CSS, re.S)
    dark = re.search(r':root\[data-theme="dark"\] \{(.*?)\n\}', CSS, re.S)
    assert light and dark
    blocks = light[1] + (dark[1] if theme == "dark" else "")
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", blocks))


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_measure_is_the_known_one() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_pair_in_use_can_be_read(theme: str) -> None:
    colours = palette(theme)
    wrong = {
        pair: round(found, 2)
        for pairs, least in ((TEXT, 4.5), (MARKS, 3.0))
        for pair in pairs
        if (found := contrast(colours[pair[0]], colours[pair[1]])) < least
    }
    assert wrong == {}


def test_dark_has_every_colour_of_light() -> None:
    dark = re.search(r':root\[data-theme="dark"\] \{(.*?)\n\}', CSS, re.S)
    assert dark and set(re.findall(r"--([\w-]+): #", dark[1])) == set(palette("light"))


def test_styles_use_the_palette_alone() -> None:
    for path in FOLDER.glob("css/*.css"):
        text = path.read_text(encoding="utf-8")
        if path.name == "base.css":
            text = text[text.index("*,\n") :]
        assert not re.search(r"#[0-9a-fA-F]{3,8}\b(?!\s*\{)", text), path
