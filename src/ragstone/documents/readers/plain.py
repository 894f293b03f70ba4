"""Plain text: paragraphs at blank lines. Text that is reStructuredText by its look is read as that."""

from __future__ import annotations

import re

from ragstone.documents.decode import decode
from ragstone.documents.draft import Draft, Outline
from ragstone.documents.readers import rst
from ragstone.documents.readers.source import Source

# A directive, target or role, and an underlined title: both together do not happen in other text.
_RST_MARKUP = re.compile(r"^\.\. [\w-]{1,40}::|^\.\. _[^\n]{1,80}:|:[a-z:]{2,20}:`", re.MULTILINE)
_RST_TITLE = re.compile(r"^\S[^\n]{0,200}\n([=\-~^*#\"+])\1{2,}[ \t]*$", re.MULTILINE)
_SAMPLE_CHARS = 20_000


def read(source: Source) -> Draft:
    """The text as it is."""
    text = decode(source.data)
    sample = text[:_SAMPLE_CHARS]
    if _RST_MARKUP.search(sample) and _RST_TITLE.search(sample):
        return rst.outline(text).draft()
    return Outline(text).draft()
