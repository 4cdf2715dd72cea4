"""From an LLM's written text to what a voice says: cut early, made speakable. Pure: the standard library alone.

    deltas -> ClauseSplitter -> pieces -> Speakable -> words for the voice

The pieces of a splitter join to exactly the text that was pushed; a speakable turns each of them, in order, into what
is to be said, which may be nothing. Both are made anew for each reply. `docs/text.md` has the rules.
"""

from antiphon.pipeline.text.lexicon import Lexicon
from antiphon.pipeline.text.speakable import Speakable, make_speakable
from antiphon.pipeline.text.splitter import ClauseSplitter, make_splitter

__all__ = ["ClauseSplitter", "Lexicon", "Speakable", "make_speakable", "make_splitter"]
