"""The small closed word classes of languages other than English that say a turn goes on. Data alone, case-folded.

Only words that hardly ever end a turn: a German "an" or "mit" ends many ("mach das Licht an"), so it is not here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClosedWords:
    """A language's words, by the reason that they give at the end of a turn."""

    conjunctions: frozenset[str]
    prepositions: frozenset[str]
    determiners: frozenset[str]
    fillers: frozenset[str]
    answers: frozenset[str]
    """Whole turns: yes, no, thanks."""


def _closed(conjunctions: str, prepositions: str, determiners: str, fillers: str, answers: str) -> ClosedWords:
    return ClosedWords(
        frozenset(conjunctions.casefold().split()),
        frozenset(prepositions.casefold().split()),
        frozenset(determiners.casefold().split()),
        frozenset(fillers.casefold().split()),
        frozenset(answers.casefold().split("|")),
    )


CLOSED_WORDS: dict[str, ClosedWords] = {
    "de": _closed(
        "und oder aber denn weil dass daß ob wenn falls obwohl sondern damit sodass bevor nachdem sobald",
        "von für gegen ohne im ins am zum zur vom beim wegen trotz seit bis zwischen während über in bei",
        "der den dem des die eine einen einem einer eines mein dein sein unser kein meine meinen meinem meiner deine "
        "seine ihre ihren ihrem unsere unseren unserem eure keine keinen jede jeden jedem diese diesen diesem dieser",
        "äh ähm öh öhm hm hmm tja naja also",
        "ja|nein|danke|danke schön|vielen dank|nein danke|ja bitte|okay|ok|hallo|guten tag|guten morgen|tschüss|genau|"
        "stopp|stop|auf wiedersehen",
    ),
    "es": _closed(
        "y e o u pero porque que si cuando como aunque mientras sino pues",
        "a con de del al en para por sin sobre entre hasta desde hacia según",
        "el la los las un unos unas mi mis tu tus su sus nuestro nuestra nuestros nuestras cada",
        "eh em ehm mmm hmm este bueno",
        "sí|no|gracias|muchas gracias|no gracias|sí por favor|vale|hola|buenos días|buenas tardes|adiós|hasta luego|"
        "exacto|claro|para|alto",
    ),
    "fr": _closed(
        "et ou mais donc car que qu' parce puisque quand lorsque si comme quoique",
        "à de du des d' au aux avec dans en par pour sans sous sur chez vers entre pendant",
        "le la les l' un une mon ma mes ton ta tes son sa ses notre votre nos vos leur leurs ce cet cette ces chaque "
        "je j' c'est c' il n'",
        "euh heu hum hmm ben bah",
        "oui|non|merci|merci beaucoup|non merci|oui merci|d'accord|bonjour|bonsoir|salut|au revoir|exactement|stop",
    ),
    "it": _closed(
        "e ed o ma che se quando come perché anche mentre sebbene oppure però",
        "a ad da di in con su per tra fra del dello della dei degli delle al allo alla ai agli alle dal dallo dalla "
        "dai nel nello nella nei negli nelle sul sullo sulla sui sulle",
        "il lo la i gli le un l' un' dell' all' nell' dall' sull' ogni questo questa questi queste",
        "eh ehm em mmm hmm cioè allora dunque",
        "sì|no|grazie|grazie mille|no grazie|sì grazie|va bene|ciao|buongiorno|buonasera|arrivederci|esatto|certo|"
        "basta|stop",
    ),
    "nl": _closed(
        "en of maar want omdat dat als wanneer hoewel terwijl zodat voordat nadat",
        "van met voor naar bij zonder tegen tussen tijdens sinds tot te",
        "de een mijn jouw zijn onze ons hun uw elke iedere deze ieder elk",
        "eh ehm uh uhm euh hm hmm nou dus",
        "ja|nee|dank je|dank u|dank je wel|bedankt|nee bedankt|ja graag|oké|ok|hallo|goedemorgen|tot ziens|precies|"
        "stop",
    ),
    "pt": _closed(
        "e ou mas porque que se quando como embora enquanto nem",
        "de do da dos das em no na nos nas por pelo pela pelos pelas para com sem sobre entre até desde ao aos à às "
        "num numa",
        "o a os as um uma uns umas meu minha meus minhas seu seus suas nosso nossa cada",
        "hã hum hmm eh ahn hm tipo bem então",
        "sim|não|obrigado|obrigada|muito obrigado|não obrigado|sim por favor|tudo bem|está bem|olá|bom dia|boa tarde|"
        "tchau|adeus|exato|claro|pare|pára",
    ),
}  # fmt: skip
