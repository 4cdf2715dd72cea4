"""English words that tell whether a turn is over: data alone, all lower case, for `english_completeness`."""

from __future__ import annotations

import re

FILLERS = frozenset("ah eh er erm hm hmm hmmm huh mm mmm uh uhh uhm um umm".split())
WAITING = frozenset(
    "let me see|let's see|let me think|let me check|let me look|let me just see|hold on|hang on|one moment|one second|"
    "one sec|just a moment|just a second|just a minute|just a sec|wait|wait a minute|wait a second|wait a moment|"
    "give me a second|give me a moment|give me a minute|bear with me|you know|i mean|kind of|sort of|how do i say|"
    "how do you say|what's the word|what do you call it|where was i".split("|")
)
"""At the end of a turn: the speaker asks for time, or thinks aloud."""

CONJUNCTIONS = frozenset(
    "although and as because but cos coz cuz except if lest nor or plus since than though till unless until whenever "
    "whereas wherever whether while whose so".split()
)
DETERMINERS = frozenset("a an every her his its my our the their your".split())
DEMONSTRATIVES = frozenset("this that these those".split())
WH_WORDS = frozenset("how what when where which who whom whose why".split())
SUBJECTS = frozenset("he i she they we".split())
PRONOUNS = SUBJECTS | frozenset("it there you".split())
OBJECTS = frozenset("her him it me them us you".split())

PREPOSITIONS = frozenset(
    "about against among at behind beside besides between beyond by concerning despite during for from including into "
    "near of onto per regarding to toward towards unlike upon versus via vs with within without".split()
)
"""Nothing ends with them, unless their object stands before ("what is it for")."""
PARTICLES = frozenset("across along around down in off on out over past through under up".split())
"""Prepositions that are also adverbs: "turn it on"."""

MODALS = frozenset("can could may might must shall should will would".split())
BE = frozenset("am are be been being is was were".split())
DO_HAVE = frozenset("did do does had has have having".split())
AUXILIARIES = MODALS | BE | DO_HAVE
NEGATED = frozenset(
    "aren't can't cannot couldn't didn't doesn't don't hadn't hasn't haven't isn't mustn't shouldn't wasn't weren't "
    "won't wouldn't".split()
)
NUMBER_LIKE_NOUNS = frozenset("can may will might march".split())

EAGER = frozenset(
    "able according almost another basically certain different even ever every gonna gotta just main mostly nearly "
    "never often only really such supposed usually various very wanna whole".split()
)
"""Adverbs and adjectives that lean on the next word."""
LEANING_ADJECTIVES = frozenset(
    "bad best better big black blue brand bunch certain cheap cheapest complete couple double eight entire fast few "
    "first good great green huge kind large last latest little living long main medium most nearest new next nice old "
    "own particular pair previous quick real red round second short single small sort special specific total white "
    "wrong young".split()
)
"""After a determiner they wait for their noun; some may also be nouns ("the red", "a medium")."""
NOUN_LIKE_ADJECTIVES = frozenset(
    "best better black blue cheapest couple double eight fast few first good green kind large last latest little "
    "medium most nearest next previous red second single small special total white wrong".split()
)

NEED_OBJECT = frozenset(
    "add afford ask asked asking become becomes believe believed bought bring brought buy called calling choose "
    "contain contains cost costs create depend depends describe enjoy expect expected explain feels find found gave "
    "get gets getting give gives giving got guess hope hoped hoping imagine include includes keep keeps kept let "
    "lets love made make makes making mean means meant named need needed needs offer order ordered planning prefer "
    "prefers put putting realized receive received recommend remember remind require requires said saw say saying "
    "says seem seemed seems send sending sent set sets show showed sounds suggest suppose take takes taking tell "
    "telling tells think thinking thinks thought told took translate trying use want wanted wanting wants weigh "
    "weighs avoid catch lose miss missed wonder wondered wondering".split()
)
"""Verbs that end nothing but a question about their object ("what do you need")."""
VERB_OR_NOUN = frozenset(
    "add book call change check cost find guess hope love make need offer order play put reset schedule set show "
    "text use want wonder buy cancel get take say check lock close open".split()
)
"""Verbs only after one of VERB_LEADS: "I want to book", but "the order"."""
VERB_LEADS = frozenset(
    "to i you we they please can could would should will must don't didn't can't i'd we'd i'll we'll you'll just "
    "let's".split()
)
GIVING = frozenset("ask bring buy get give lend let offer pass remind send show tell text told gave showed".split())

SAYING = frozenset(
    "afraid believe believed decided feel find forgot forget glad guess happy heard hope hoping imagine is know mean "
    "means notice noticed realized remember said saw say saying says see show shows sorry suggest suppose sure tell "
    "think thinking thinks thought told understand was wish me him her us them".split()
)
"""Before "that": a clause follows."""

STRANDING_VERBS = frozenset(
    "ask belong call care come deal eat get go hear listen live look made paid pay play refer say search sit speak "
    "stay talk think travel wait work worry".split()
)
INTRANSITIVE_PHRASAL = frozenset(
    "log in|sign in|sign up|sign out|log out|log off|log on|check in|check out|hang up|wake up|get up|stand up|"
    "sit down|lie down|calm down|slow down|speed up|shut up|break down|broke down|come in|come on|come over|go on|"
    "go up|go down|go out|going on|going out|move on|move in|start over|give up|grow up|show up|shut down|hurry up|"
    "speak up|stay in|stay up|work out|run out|pass out|turn around|look around|later on|so on|now on|early on|"
    "what's up|not in|go over|go through|get in|get out|eat out|opt out|opt in|back up|pull over|"
    "half past that".split("|")
)
ELLIPTIC_ENDINGS = frozenset(
    "more than that|or so|think so|hope so|guess so|believe so|suppose so|afraid so|do so|is that so|not so|why so|"
    "just so|if so|say so|told you so|for a while|in a while|a while|once in a while|never before|the day before|"
    "the week before|what if|and so on|and so forth|as well|at all|of course|come with me|what for|where to|who with|"
    "where from|so far|the free will|good will|trash can|garbage can|no matter what|or what|guess what|so what|"
    "sorry what|say what".split("|")
)
"""Whole although their last word, alone, would wait for more."""

LEADS = frozenset(
    "actually ah alright also anyway basically but eh er erm hello hey hi hm hmm hmmm just maybe mm mmm no nope now oh "
    "ok okay perfect please right so sorry sure then thanks uh uhh uhm um umm well yeah yep yes and great cool fine "
    "alexa computer siri".split()
)
"""What may stand before a sentence and says nothing of its end."""
TRAILERS = tuple(
    tuple(phrase.split())
    for phrase in (
        "if you don't mind|if that's okay|if that's possible|if you can|if you could|if possible|thank you very much|"
        "thank you|in my opinion|i think|i guess|i suppose|i believe|by the way|for me|please|thanks|sir|madam|ma'am"
    ).split("|")
)
"""What may stand after a whole sentence."""

_PHRASES = (
    "yes|yeah|yep|yup|no|nope|nah|ok|okay|alright|all right|sure|sure thing|thanks|thanks a lot|thank you|"
    "thank you so much|thank you very much|many thanks|you're welcome|hello|hello there|hi|hi there|hey there|"
    "good morning|good evening|good afternoon|good night|bye|bye bye|goodbye|see you|see you later|see you soon|"
    "see you tomorrow|take care|please do|yes please|no thanks|stop|stop it|cancel|pause|continue|resume|repeat|next|"
    "previous|back|go back|go on|go ahead|help|quit|exit|start|restart|skip|mute|unmute|undo|louder|quieter|correct|"
    "exactly|absolutely|definitely|of course|certainly|right|that's right|that's correct|that is correct|perfect|"
    "great|cool|fine|good|wonderful|excellent|not really|not yet|not now|not at all|never|never mind|nevermind|maybe|"
    "maybe later|probably|probably not|i don't know|i do not know|i don't think so|i think so|i guess so|i hope so|"
    "i hope not|i'm not sure|not sure|i'm fine|i'm good|i'm done|i'm sorry|sorry|no problem|no worries|nothing|"
    "nothing else|that's all|that is all|that's it|that will be all|that'll be all|that would be all|got it|i see|"
    "i understand|i agree|i got it|it works|me too|me neither|so do i|neither do i|as soon as possible|as well|what|"
    "why|who|when|where|how|how come|why not|how are you|who are you|where are you|what's up|what's new|what else|"
    "anything else|excuse me|pardon|pardon me|sounds good|let's go|shut up|be quiet|yes it is|yes it was|yes i am|"
    "yes i do|yes i did|yes i have|yes i can|yes i will|yes i would|yes we are|yes we do|no it isn't|no it's not|"
    "no it is not|no i don't|no i didn't|no i'm not|no i am not|no i can't|no i haven't|no i won't|of course not|"
    "i don't|i love it|i like it|i hate it|i forgot|it depends"
)
WHOLE_TURN = re.compile(rf"(?:(?:{_PHRASES})(?: |\Z)){{1,6}}\Z")
"""Turns of set phrases alone, matched against the words joined by blanks."""

ECHO_ANSWERS = frozenset(
    "i am|i do|i did|i can|i will|i have|we are|we do|we did|we have|it isn't|it does|i don't|i didn't|i can't|i won't|"
    "i haven't|i'd love to|i don't want to|i have to|not".split("|")
)
"""Answers and beginnings alike: nobody can tell."""

INTRODUCTIONS = re.compile(
    r"(?:first of all|in (?:my|our) opinion|to be (?:honest|fair|clear)|by the way|for (?:example|instance)|in fact|"
    r"as a matter of fact|in other words|in addition|in general|in that case|on the (?:one|other) hand|"
    r"as far as i (?:know|can tell|understand)|at the end of the day|speaking of which|generally speaking|at first|"
    r"to start with|to begin with|actually|basically|honestly|also|however|anyway|besides|meanwhile|therefore|firstly|"
    r"secondly|thirdly|furthermore|personally|apparently|unfortunately|hopefully|luckily|so|and|but|well|then|now|please|"
    r"hey|and then|so then|but then|okay so|excuse me)(?: |\Z)"
)
SUBORDINATORS = frozenset("although if once though unless when whenever wherever whereas while".split())
ANSWERING_SUBORDINATORS = frozenset("after because before cause since till until".split())
"""Alone they may answer a question: "because I like it"."""
CLAUSE_OPENERS = frozenset("because if how what when where whether which who why although unless whereas".split())

COMMANDS = frozenset(
    "add announce answer ask begin book bring buy call cancel change check choose clean clear close connect continue "
    "convert create decrease delete dial dim disable disconnect do don't download empty enable end explain fetch find "
    "finish fix follow forget forward get give go grab help hide hold increase install keep launch leave let let's "
    "list listen load lock look lower make mark meet move mute navigate note open order paint pause pay pick place "
    "play press print pull push put raise read record reduce remember remind remove rename repeat replace reply report "
    "reschedule reserve reset restart resume return run save say scan schedule search select send set share shout show "
    "shut shuffle sing skip sort speak spell start stay stop subtract switch take talk tell text throw transfer "
    "translate try turn type unlock unmute update use wake walk warm wash watch write".split()
)
MOVES = frozenset("add change move put set raise lower increase decrease convert translate transfer forward".split())
"""Commands that often want a place or a value after their object."""
_VERBS = (
    "accept accepts agree agrees allow allows apply applies appear appears arrive arrives ate bade began begin "
    "begins believe believes belong belongs bought break breaks broke broken bring brings brought build built buys "
    "call calls came caught change changes charge charges choose chose close closes come comes cost costs cry cut "
    "cuts deliver depend depends did die drink drive drives drove eat eats end ends fall falls feel feels fell felt "
    "fit fits flew flies fly forget forgets forgot found gave get gets give gives go goes got grew grow grows had "
    "happen happens has hate hates hear heard hears held help helps hit hits hold hope hurt hurts keep keeps kept "
    "knew know knows lead leads learn learned leave leaves led left let lets like likes live lives look looks lose "
    "loses lost love loves made make makes mean means meant meet met need needs open opens owe owes own owns paid "
    "pay pays play plays prefer put puts ran read reads ring rings rose run runs said sang sat saw say says see seem "
    "seems sees sell sells send sends sent show shows slept sold sound sounds speak speaks spend spent spoke stand "
    "stands start starts stay stays stole stood stop stops suggest take takes talk talks taste tastes taught tell "
    "tells think thinks thought threw told took tried tries try turn turns understand understood use uses wait waits "
    "wake want wants watch went wear wears win wins wish woke won wore work works write writes wrote"
)
VERBS = frozenset(_VERBS.split())
BARE_VERBS = frozenset(
    "agree arrive begin break care close come cost cry die drive drop eat end fail fall finish fly go happen help "
    "leave live look matter mean open play rain run say sit sleep snow sound speak start stay stop swim understand "
    "take talk travel turn work".split()
)
"""May end a question after its subject: "when does the store open"."""
WHOLE_VERBS = frozenset(
    "arrived began broke called came changed cares died fell goes happened happens hurts knows left lives lost matters "
    "ran started stopped went won works wins".split()
)
"""Past and third-person forms that need no object."""
SWITCHED = frozenset("ac fan heater heating lamp light lights music radio sound tv volume".split())
""" "lights on", "volume down"."""
UNDOABLE = frozenset("cancel delete do forget ignore remove repeat stop undo".split())
"""Commands that take a bare "that"."""
NOUN_LIKE_VERBS = frozenset(
    "break call change charge cost cut drink end fall feel fit help hope look love need order play read ring run show "
    "sleep sound start stay stop talk taste try turn use wait wake watch win wish work".split()
)
NOT_BEFORE_NOUNS = PRONOUNS | AUXILIARIES | NEGATED | frozenset("to who not".split())
LIST_STOPPERS = frozenset("and or please thanks sir too then though right okay".split())
