"""What the scenario set says. Only data: a change of it changes what results mean, so raise :data:`VERSION` with it.

In a text, `|400|` is a silence of 400 ms inside the sentence; `~|400|` the same after a word that is drawn out, as one
that a speaker hesitates on. Numbers, dates and spelled names are written as they
are said; :class:`Line` holds how a recogniser writes them where that differs.
"""

from __future__ import annotations

from dataclasses import dataclass

VERSION = 2


@dataclass(frozen=True, slots=True)
class Line:
    """One turn of a user."""

    text: str
    """As it is said, with its pauses."""
    written: str = ""
    """The reference for word errors, where it is not just the words of `text`."""


QUESTIONS = (
    Line("What time is it?"),
    Line("What's the weather like tomorrow?"),
    Line("How far is it to the airport?"),
    Line("Who wrote Pride and Prejudice?"),
    Line("Can you turn off the kitchen light?"),
    Line("Is there a pharmacy near the station?"),
    Line("When does the museum close today?"),
    Line("How do I reset my password?"),
    Line("Why is the sky blue?"),
    Line("Do I need an umbrella this afternoon?"),
    Line("Which bus goes to the city center?"),
    Line("How much does a monthly ticket cost?"),
    Line("Could you read me the latest news?"),
    Line("Are there any vegetarian dishes on the menu?"),
)
"""In one breath: the counterpart of the pause set."""

# Where the speaker hesitates:
#   function  after a little word that calls for more: to, the, and, for, a, with
#   phrase    after words that could have been all: the hard ones
#   clause    after a subordinate clause
#   digits    between groups of digits
#   name      before a name
#   twice     in two places

PAUSES_TUNE: tuple[tuple[str, Line], ...] = (
    ("function", Line("I'd like to ~|200| book a table for four people.")),
    ("function", Line("Can you send a message to ~|200| my brother in Chicago?")),
    ("function", Line("Please remind me to water the ~|200| tomatoes tonight.")),
    ("function", Line("I want to ~|400| change my appointment on Thursday.")),
    ("function", Line("Show me the ~|400| cheapest flight to Denver.")),
    ("function", Line("I need a hotel with ~|400| a swimming pool.")),
    ("function", Line("Could you play something by ~|400| Johnny Cash?")),
    ("function", Line("I'm looking for a ~|800| birthday present for my mother.")),
    ("function", Line("Please order two pizzas and ~|800| a bottle of water.")),
    ("function", Line("Tell me about the ~|800| history of this building.")),
    ("function", Line("I would like to ~|800| cancel my subscription.")),
    ("function", Line("Set the temperature to ~|800| twenty degrees.", "Set the temperature to 20 degrees.")),
    ("phrase", Line("I'd like a coffee |200| with oat milk please.")),
    ("phrase", Line("Call my sister |200| on her work number.")),
    ("phrase", Line("Turn on the lamp |400| in the living room.")),
    ("phrase", Line("I need a taxi |400| to the train station.")),
    ("phrase", Line("Book a room for tonight |400| near the harbor.")),
    ("phrase", Line("Tell me a story |400| about a dragon.")),
    ("phrase", Line("Play some music |800| from the nineties.", "Play some music from the 90s.")),
    ("phrase", Line("What's the weather |800| in San Francisco?")),
    ("phrase", Line("I want to buy a ticket |800| for the concert on Saturday.")),
    ("phrase", Line("Put milk on the list |800| and some bread.")),
    ("clause", Line("If it rains tomorrow, |200| remind me to take my umbrella.")),
    ("clause", Line("When I get home, |200| turn on the heating.")),
    ("clause", Line("Because the train was late, |400| I missed my meeting.")),
    ("clause", Line("Before you send the letter, |400| please read it to me.")),
    ("clause", Line("After we finish dinner, |800| start the dishwasher.")),
    ("clause", Line("Unless there is something cheaper, |800| take the first one.")),
    ("digits", Line("My number is five five five, |200| two three eight four.", "My number is 555-2384.")),
    ("digits", Line("The code is four seven |400| nine one.", "The code is 4791.")),
    ("digits", Line("My order is six two eight |400| five five one.", "My order is 628551.")),
    ("digits", Line("Call me at two one two, |800| six four seven nine.", "Call me at 212-6479.")),
    ("digits", Line("The ticket number is eight three |800| zero two six.", "The ticket number is 83026.")),
    ("name", Line("My name is ~|200| Robert Miller.")),
    ("name", Line("I'd like to speak to ~|200| Doctor Henderson.")),
    ("name", Line("My last name is ~|400| Anderson.")),
    ("name", Line("The company is called ~|400| Green River.")),
    ("name", Line("The street is called ~|800| Washington Avenue.")),
    ("twice", Line("I'd like to ~|400| move my appointment to ~|800| next Friday.")),
    ("twice", Line("Send an email to ~|800| Susan |400| about the meeting.")),
    ("twice", Line("Please add ~|200| apples and ~|400| orange juice to my list.")),
    ("twice", Line("I was wondering ~|400| if you could ~|400| help me with my account.")),
)
"""Settings may be chosen on these."""

PAUSES_HELD_OUT: tuple[tuple[str, Line], ...] = (
    ("function", Line("I'm trying to ~|200| find my old invoices.")),
    ("function", Line("Could you give me directions to ~|200| the public library?")),
    ("function", Line("Please move the ~|200| meeting to Monday.")),
    ("function", Line("We need to ~|400| rent a car for the weekend.")),
    ("function", Line("Read me the ~|400| second message again.")),
    ("function", Line("I want a sandwich with ~|400| cheese and pickles.")),
    ("function", Line("Do you have any books about ~|400| ancient Rome?")),
    ("function", Line("I'm calling about a ~|800| package that never arrived.")),
    ("function", Line("I have two dogs and ~|800| a very old cat.")),
    ("function", Line("What is the ~|800| capital of Australia?")),
    ("function", Line("I have to ~|800| return a pair of shoes.")),
    ("function", Line("Wake me up at ~|800| seven tomorrow morning.", "Wake me up at 7 tomorrow morning.")),
    ("phrase", Line("I'll have the soup |200| without any onions.")),
    ("phrase", Line("Send him a message |200| that I'm running late.")),
    ("phrase", Line("Close the blinds |400| in the bedroom.")),
    ("phrase", Line("I'd like a window seat |400| on the left side.")),
    (
        "phrase",
        Line("Reserve a table for two |400| at the Italian place."),
    ),
    ("phrase", Line("Give me a recipe |400| for chicken soup.")),
    ("phrase", Line("Set a timer |800| for the potatoes.")),
    ("phrase", Line("How long does it take |800| by bicycle?")),
    ("phrase", Line("I lost my key |800| somewhere in the park.")),
    ("phrase", Line("Open the garage |800| and turn off the alarm.")),
    ("clause", Line("If nobody answers, |200| leave a short message.")),
    ("clause", Line("When the washing machine is done, |200| let me know.")),
    ("clause", Line("Since the shop is closed, |400| I'll come back tomorrow.")),
    ("clause", Line("Before I leave the house, |400| tell me about the traffic.")),
    ("clause", Line("After the movie is over, |800| dim the lights again.")),
    ("clause", Line("Although it was expensive, |800| I really like the camera.")),
    ("digits", Line("You can reach me at five five five, |200| nine zero one seven.", "You can reach me at 555-9017.")),
    ("digits", Line("My pin is three eight |400| two six.", "My pin is 3826.")),
    ("digits", Line("The invoice is seven one four |400| nine three two.", "The invoice is 714932.")),
    ("digits", Line("The number is four one five, |800| seven two eight three.", "The number is 415-7283.")),
    ("digits", Line("My customer number is nine two |800| five four one.", "My customer number is 92541.")),
    ("name", Line("This is ~|200| Michael Thompson.")),
    ("name", Line("I have an appointment with ~|200| Doctor Peterson.")),
    ("name", Line("Her first name is ~|400| Elizabeth.")),
    ("name", Line("I work for a company called ~|400| Silver Lake.")),
    ("name", Line("I live on ~|800| Lincoln Street.")),
    ("twice", Line("I want to ~|400| fly to Boston on ~|800| Wednesday evening.")),
    ("twice", Line("Make a note for ~|800| Daniel |400| about the broken window.")),
    ("twice", Line("Can you ~|200| tell me when ~|400| the next train leaves?")),
    ("twice", Line("I think ~|400| I would rather ~|400| take the smaller one.")),
)
"""Settings are never chosen on these: no sentence of :data:`PAUSES_TUNE`, and as many of each place and length."""

TRAILING = (
    Line("I would like to ~|300| um."),
    Line("Could you maybe ~|250| uh."),
    Line("I was thinking that we could ~|300| um."),
    Line("It's something like ~|250| I don't know."),
    Line("So the thing is that my ~|300| uh."),
    Line("I need to find the ~|250| um."),
    Line("We could meet on Tuesday or ~|300| um."),
    Line("Well, it depends on ~|250| you know."),
)
"""The speaker gives up: what was said is all there is."""

LISTS = (
    Line("My phone number is five five five, zero one four two.", "My phone number is 555-0142."),
    Line("The number is eight hundred, five five five, one nine nine four.", "The number is 800-555-1994."),
    Line("I was born on May third, nineteen eighty seven.", "I was born on May 3, 1987."),
    Line("Let's meet on the twenty first of October.", "Let's meet on the 21st of October."),
    Line("I'd like two burgers, one salad, and three lemonades.", "I'd like 2 burgers, 1 salad, and 3 lemonades."),
    Line("Please buy milk, eggs, butter, and a loaf of bread."),
    Line("My last name is Meyer, M, E, Y, E, R."),
    Line("The confirmation code is B, seven, K, four, nine.", "The confirmation code is B7K49."),
    Line("It costs twelve hundred and fifty dollars.", "It costs $1,250."),
    Line("Set an alarm for seven and another one for half past eight."),
    Line("We are two adults, two children, and one baby.", "We are 2 adults, 2 children, and 1 baby."),
    Line("First the post office, then the bank, and then the bakery."),
)

LONG = (
    Line(
        "I have two kids, a dog, and about three hours on Saturday afternoon, and I would like to know what we could "
        "do outside without driving for more than twenty minutes."
    ),
    Line(
        "My washing machine stops in the middle of the program and shows a red light on the left side, so what should "
        "I check first before I call somebody to repair it?"
    ),
    Line(
        "If I leave the office at a quarter past five and stop at the supermarket on the way home, do you think that "
        "I can still be in time for the concert at the school?"
    ),
    Line(
        "I am cooking dinner for six people tomorrow, one of them does not eat meat and another one cannot have milk "
        "or nuts, so please give me an idea for a main course."
    ),
    Line(
        "Could you explain to my grandmother in very simple words why she should not open the attachment of an email "
        "that comes from a person whom she has never heard of?"
    ),
    Line(
        "We want to travel by train from the north of the country to the south at the end of the month, stay for a "
        "week near the sea, and spend as little money as possible."
    ),
    Line(
        "Yesterday I bought a pair of running shoes in your shop, but when I came home I saw that one of them is a "
        "size smaller than the other, and now I would like to exchange them."
    ),
    Line(
        "When I was a child we had a large apple tree behind the house, and now that I have a garden of my own I "
        "wonder which kind of tree would grow well in a cold and windy place."
    ),
    Line(
        "I have to give a short talk about the history of our town on Monday morning, and I do not know how to begin "
        "it so that the people in the last row keep listening to me."
    ),
    Line(
        "The doctor told me to take these tablets twice a day after a meal, but I forgot the one this morning, so "
        "should I take two of them tonight or just go on as if nothing had happened?"
    ),
    Line(
        "Please tell me which of the two phone contracts is better for somebody who hardly ever calls anyone, but "
        "watches films on the train for an hour each day on the way to work and back."
    ),
    Line(
        "My neighbor plays the trumpet every evening between eight and ten, and although he plays it rather well I "
        "would like to find a friendly way to ask him to stop a little earlier."
    ),
)
"""Much is said before it is anybody else's turn: what can be done while the user speaks shows here."""

ERRANDS = (
    Line("What is twelve times seven?", "What is 12 times 7?"),
    Line("How much is three hundred minus forty eight?", "How much is 300 minus 48?"),
    Line("What is ninety divided by six?", "What is 90 divided by 6?"),
    Line("Set a timer for ten minutes.", "Set a timer for 10 minutes."),
    Line("What time is it now?"),
    Line("Please multiply fifteen by four.", "Please multiply 15 by 4."),
    Line("How much is two hundred and fifty plus eighty?", "How much is 250 plus 80?"),
    Line("Please set a timer for half a minute."),
    Line("What is seventeen plus twenty five?", "What is 17 plus 25?"),
    Line("Can you tell me the current time?"),
)
"""For the tools of `agent.yaml`: the answer waits for a tool's result."""

DIALOGUES: tuple[tuple[str, tuple[Line, ...]], ...] = (
    (
        "restaurant",
        (
            Line("Hello, I'd like to book a table."),
            Line("For Friday evening, please."),
            Line("There will be ~|400| five of us.", "There will be 5 of us."),
            Line("That sounds good, thank you."),
        ),
    ),
    (
        "travel",
        (
            Line("I need a train to Boston tomorrow."),
            Line("Sometime in the morning |400| if possible."),
            Line("How much is that?"),
        ),
    ),
    (
        "support",
        (
            Line("My internet connection is not working."),
            Line("Yes, I already tried that."),
            Line("The light on the router is ~|800| orange."),
            Line("Okay, it's working now."),
        ),
    ),
    (
        "home",
        (
            Line("Turn on the lights in the kitchen."),
            Line("A little brighter, please."),
            Line("And what's the temperature in here?"),
        ),
    ),
    (
        "doctor",
        (
            Line("I'd like to make an appointment with the doctor."),
            Line("My back has been hurting for ~|400| about a week."),
            Line("Is there anything on Wednesday?"),
            Line("Yes, that works for me."),
        ),
    ),
)
