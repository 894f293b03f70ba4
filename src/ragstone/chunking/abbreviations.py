"""Words that decide whether a full stop ends a sentence, in English and German. Data only.

Collected by reading scifact, the xquad paragraphs in both languages and the React, Prometheus and Python
documentation for wrong splits; all entries are lower case and without the final stop.
"""

from __future__ import annotations


def _words(block: str) -> frozenset[str]:
    return frozenset(block.split())


# The sentence practically always goes on after these.
NEVER_FINAL = _words(
    """
    mr mrs ms mme mlle dr drs prof st ste gen sen rep gov capt cpt cmdr lt col maj sgt cpl adm rev fr hon messrs mt ft
    vs cf viz ie eg e.g i.e fig figs eq eqs eqn sec sect chap ch vol vols pp ed eds approx resp incl excl nr nos tab
    q.v c.f v.s
    z.b d.h u.a u.ä o.ä s.o s.u i.d.r v.a m.e z.t u.u i.a sog bzw ggf evtl vgl ca inkl exkl zzgl abs bd hr hrn
    hl hrsg verf aufl str tel nr abb kap vs allg bes insb ehem geb gest urspr eigtl einschl
    """
)

# These may end a sentence: they do when the next word is one that starts sentences.
SOMETIMES_FINAL = _words(
    """
    etc usw usf inc ltd co corp bros plc llc jr sr esq al a.m p.m am pm no op est dept univ assn ave blvd rd
    bc ad b.c a.d ph.d m.d b.a m.a u.s u.k u.n e.u u.s.a d.c mio mrd tsd jh jhdt chr v.chr n.chr dgl
    """
)

# Months and weekdays: not an end before a number ("Jan. 5"), else like SOMETIMES_FINAL.
CALENDAR = _words(
    """
    jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun mär okt dez
    """
)

# An end before one of these is believed after SOMETIMES_FINAL, initials and multi-dot abbreviations.
STARTERS = _words(
    """
    The A An This That These Those It Its He She They We You I My Your His Her Our Their In On At By For From With
    As If When While After Before Since Because Although Though But And Or So Yet However Therefore Thus Then There
    Here What Who Where Why How Which Both All Some Many Most Each Every Another Other No Not Only Also Even Under
    Over During Between Among Through Until Once Today One Two Three Is Are Was Were Do Does Did Can
    Der Die Das Den Dem Des Ein Eine Einen Einem Einer Er Sie Es Wir Ihr Ich Man Im Am Auf Aus Bei Mit Nach Seit Von
    Vor Zu Zum Zur Durch Für Gegen Ohne Um Als Wenn Weil Da Dass Ob Aber Und Oder Doch Denn Deshalb Daher Dann Dort
    Hier Diese Dieser Dieses Diesen Diesem Jeder Jede Jedes Alle Viele Einige Auch Nur Nicht Kein Keine Was Wer Wie
    Wo Warum Wann Während Obwohl Nachdem Bevor Später Heute Damals Seine Ihre
    """
)

# "am 3. Oktober", "der 2. Weltkrieg": after these a number with a stop is an ordinal.
ORDINAL_LEADERS = _words(
    """
    am der die das dem den des im vom zum zur beim bis ab seit und oder ihr ihre ihren ihrem ihrer sein seine seinen
    seinem seiner jeder jede jedes jedem jeden ein eine einem einen einer dieser diesem ins
    """
)

# What follows an ordinal even without such a leader.
ORDINAL_FOLLOWERS = _words(
    """
    Januar Februar März April Mai Juni Juli August September Oktober November Dezember Jahrhundert Jahrhunderts
    Jahrhunderte Jahrtausend Jahrtausends Jh Jhdt Lebensjahr Klasse Etage Stock Stunde Minute Tag
    """
)
