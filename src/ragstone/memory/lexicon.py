"""The closed classes of English words that the rules of `statements` know. Data only.

Other languages have no entries here: for them the write gate still knows equal texts, numbers and names, and vectors.
"""

from __future__ import annotations

import re


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


# Words that carry no fact of their own, so that adding or dropping one says nothing new.
FILLERS = _words(
    "a an the this that these those my your his her its our their i you he she it we they me him them us",
    "am is are was were be been being do does did to of in on at by for with from as and or but so very really just",
    "also too well oh yes please actually basically quite rather note remember indeed there here than then which",
    "who whom",
)
# A newer statement often says that it is newer.
UPDATES = _words("now currently nowadays today anymore still instead meanwhile henceforth")
NEGATIONS = _words(
    "not no never none nobody nothing without neither nor cannot can't don't doesn't didn't isn't aren't wasn't",
    "weren't won't wouldn't couldn't shouldn't hasn't haven't hadn't ain't",
)
AUXILIARIES = _words("do does did is are was were will would can could has have had longer any am be")
COPULAS = _words("is are was were am be has have will")
# Attributes that hold one value at a time. `likes` or `visited` hold many, so they are not here.
SINGLE_VALUED = _words(
    "live lives lived living resides residing works work working employed costs cost called named prefers prefer",
    "born due favourite favorite birthday address phone number email name age price password deadline owner manager",
    "boss capital colour color size version status married stays located scheduled starts start ends end opens open",
    "closes close leaves leave arrives arrive departs depart weighs weigh measures moved",
)
VALUE_KINDS = (
    _words("monday tuesday wednesday thursday friday saturday sunday"),
    _words("mondays tuesdays wednesdays thursdays fridays saturdays sundays"),
    _words("january february march april may june july august september october november december"),
    _words("red green blue yellow black white brown orange purple pink grey gray violet silver golden"),
    _words(
        "one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty hundred"
    ),
    _words("first second third fourth fifth last"),
    _words("morning noon afternoon evening night midnight dawn dusk"),
    _words("north south east west left right"),
    _words("open closed on off enabled disabled true false active inactive full empty"),
    _words("always never often rarely daily weekly monthly yearly"),
    _words("love loves hate hates like likes dislike dislikes"),
    _words("before after above below up down more less higher lower bigger smaller"),
    _words("spring summer autumn winter"),
)

# How answers begin that repeat what is remembered: `As I said, …`, `I recall that …`, `Assistant: …`.
LEAD_IN = re.compile(
    r"\s*(?:[-–—*•]\s*)?(?:"
    r"(?:assistant|ai|bot|ragstone|answer|a)\s*:"
    r"|as (?:i|you|we) (?:have )?(?:already )?(?:said|mentioned|told (?:you|me)|noted|discussed|stated)"
    r"(?: (?:earlier|before|previously|already))?"
    r"|(?:i|we) (?:already )?(?:remember|recall|know)(?: that)?"
    r"|(?:based on|according to|from|per) (?:my|our|the|your) (?:(?:previous|earlier|last|stored) )?"
    r"(?:memory|memories|notes?|conversations?|records?|answers?|knowledge)"
    r"|you (?:have )?(?:already )?(?:told|said|mentioned)(?: (?:to )?me)?(?: (?:earlier|before|previously))?(?: that)?"
    r"|(?:in (?:my|an|our) )?(?:previous|earlier|last) (?:answer|reply|message|conversation)"
    r"|(?:to answer your question|the answer(?: to your question)?(?: is| was)?|in summary|to summari[sz]e)"
    r"|it is (?:stored|noted|recorded)(?: in (?:my|our) memory)?(?: that)?"
    r")\s*(?:[,:;]|\bthat\b)?\s*[\"“'«]?",
    re.IGNORECASE,
)

# What people begin with as well.
INTERJECTION = re.compile(
    r"\s*(?:well|sure|yes|okay|ok|oh|so|by the way|just so you know)\s*[,:]\s*", re.IGNORECASE
)
# How answers end.
CLOSING = re.compile(
    r"(?:(?<=[.!?])|^)\s*(?:let me know|i hope (?:this|that) helps|is there anything else|feel free to|would you like"
    r"|do you want me|happy to help)[^.!?]{0,200}[.!?]*\s*$",
    re.IGNORECASE,
)
