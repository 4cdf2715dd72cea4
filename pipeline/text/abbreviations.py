"""What a full stop after a word means: the end of a sentence, or part of an abbreviation. Data and one rule."""

from __future__ import annotations

import enum
import re


class Stop(enum.Enum):
    """What the full stop after a word says of the sentence."""

    END = "end"
    NEVER = "never"
    """Part of a title or a list number: something always follows."""
    UNLESS_DIGIT = "unless_digit"
    """ "No. 5" and "Jan. 5", but "No." and "Sun." are words too."""
    IF_TITLE_CASE = "if_title_case"
    """ "etc. and" goes on, "etc. Bring" begins anew, "9 a.m. EST" goes on."""
    IF_STARTER = "if_starter"
    """ "the U.S. Army" and "Main St. Bridge" go on; "the U.S. The" begins anew."""


_NEVER = frozenset(
    "adm capt cf cmdr col cpl dr e.g gen gov hon i.e insp lt maj messrs mr mrs ms mt mx pres prof pvt rep rev "
    "sen sgt supt viz vs".split()
)
_DIGIT = frozenset(
    "apr art aug ch dec eq ex feb fig figs fri jan jul jun mar mon no nos nov nr oct p pp sat sec sep sept sun thu "
    "thur thurs tue tues ver vol wed".split()
)
_MAYBE = frozenset(
    "a.m al approx apt assn asst bros ca co corp dept ed est etc ext govt hr hrs inc incl jr lb lbs ltd max min misc "
    "oz p.m ph.d qty sq sr tel univ".split()
)
_STARTER = frozenset("ave b.c a.d blvd d.c e.u ft rd st u.k u.n u.s u.s.a".split())

_OTHER: dict[str, frozenset[str]] = {
    "de": frozenset("abs bzgl bzw ca d.h dr evtl fr ggf hr inkl nr o.ä prof s sog st str u.a usw vgl z.b z.t".split()),
    "es": frozenset("avda dr dra ee.uu etc lic núm p.ej pág prof sr sra srta sto sta ud uds vd".split()),
    "fr": frozenset("apr av c.-à-d cf dr etc m me mlle mm mme mr p.ex prof st ste".split()),
    "it": frozenset("avv dott dott.ssa ecc es ing n pag prof sig sig.ra sigg".split()),
    "nl": frozenset("bijv bv d.w.z dhr dr drs enz ir mevr mr nr o.a prof".split()),
    "pt": frozenset("av dr dra etc exa exmo p.ex pág prof sr sra".split()),
}
_LATIN = frozenset("approx ca cf dr etc mr mrs nr prof vs".split())

ORDINAL_DOT = frozenset("cs da de et fi hr hu is lv nb nn no pl sk sl sr tr".split())
"""Languages that write an ordinal as a number and a full stop: "am 5. Mai"."""

STARTERS = frozenset(
    "a after all also although an and another any are as at because before both but by can could did do does during "
    "each every few finally first for from had has have he her here his how however i if in is it its just last later "
    "let many maybe more most my next no not now of on once one only or our perhaps please she should since so some "
    "still such that the their then there therefore these they this those though thus to today two unless until was "
    "we were what when where whether which while who why will with would yes yet you your".split()
)
"""Words that begin an English sentence far more often than they follow an abbreviation within one."""

_DOTTED = re.compile(r"(?:[^\W\d_]\.){1,6}[^\W\d_]")


def meaning_of_stop(word: str, english: bool, language: str | None) -> Stop:
    """Say what a full stop after `word` means.

    :param word: the word without its full stop, without quotes and markup around it.
    :param english: whether English rules apply (English, or nobody knows).
    :param language: the two-letter code, or None.
    """
    low = word.casefold()
    if len(word) == 1 and word.isalpha():
        return Stop.IF_STARTER if english else Stop.NEVER
    if not english:
        known = low in _OTHER.get(language or "", _LATIN) or _DOTTED.fullmatch(low) is not None
        return Stop.NEVER if known else Stop.END
    if low in _NEVER:
        return Stop.NEVER
    if low in _DIGIT:
        return Stop.UNLESS_DIGIT
    if low in _MAYBE:
        return Stop.IF_TITLE_CASE
    if low in _STARTER or _DOTTED.fullmatch(low):
        return Stop.IF_STARTER
    return Stop.END
