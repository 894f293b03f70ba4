"""HTML: the main content as headings, paragraphs, lists, code and table rows, without navigation."""

from __future__ import annotations

import re
from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ragstone.documents.decode import decode
from ragstone.documents.draft import Draft, Extraction, Value
from ragstone.documents.readers.front_matter import normalised
from ragstone.documents.readers.source import Source
from ragstone.errors import DocumentError

_CHARSET: Final = re.compile(
    rb"<meta[^<>]{0,200}charset\s{0,5}=\s{0,5}[\"']?([A-Za-z0-9._-]{1,40})", re.IGNORECASE
)
_NO_TEXT: Final = frozenset(
    {
        "script",
        "style",
        "noscript",
        "template",
        "svg",
        "iframe",
        "object",
        "embed",
        "canvas",
        "audio",
        "video",
    }
    | {"head", "button", "select", "input", "textarea", "dialog", "map", "datalist", "-comment"}
)
_AROUND: Final = frozenset({"nav", "footer", "aside"})  # around the content, where the page says so
_AROUND_ROLES: Final = frozenset({"navigation", "banner", "contentinfo", "search", "complementary", "menu"})
# Class names of what MediaWiki, Sphinx and common blog software put around and into a text.
_AROUND_CLASSES: Final = frozenset(
    {
        "mw-editsection",
        "navbox",
        "mw-jump-link",
        "catlinks",
        "noprint",
        "headerlink",
        "breadcrumb",
        "breadcrumbs",
    }
    | {
        "toc",
        "sr-only",
        "visually-hidden",
        "skip-link",
        "pagination",
        "cookie-banner",
        "mw-indicators",
        "vector-toc",
    }
    | {
        "vector-dropdown",
        "vector-menu",
        "mw-portlet",
        "interlanguage-link",
        "navbar",
        "site-header",
        "site-footer",
    }
    | {"sphinxsidebar", "sidebar", "sharedaddy", "printfooter", "mw-hidden-catlinks", "metadata"}
)
_BLOCKS: Final = frozenset(
    {
        "address",
        "article",
        "blockquote",
        "body",
        "center",
        "details",
        "dd",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
    }
    | {
        "figure",
        "form",
        "header",
        "hr",
        "html",
        "main",
        "p",
        "section",
        "summary",
        "caption",
        "table",
        "tbody",
    }
    | {
        "thead",
        "tfoot",
        "ul",
        "ol",
        "li",
        "tr",
        "pre",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "nav",
        "footer",
        "aside",
    }
)
# Elements that stay open until they are closed, for a count of how deep they are; the parser takes quadratic time in
# the depth (40,000: 2 s), and no page of people's writing has 5,000.
_MAX_DEPTH: Final = 5_000
_OPENING: Final = re.compile(
    r"<(/?)(?!(?:br|img|input|meta|link|hr|p|li|td|tr|th|dd|dt|option|source|col|wbr|area|param)\b)[a-zA-Z]|/>",
    re.IGNORECASE,
)
_HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
# A page's main part must hold at least this share of its text to be taken for it: some pages mark up a stub.
_MAIN_SHARE: Final = 0.25


def read(source: Source) -> Draft:
    """The main content of the page; if that is empty, everything."""
    declared = _CHARSET.search(source.data[:4_096])
    text = decode(source.data, declared=declared.group(1).decode() if declared else "")
    found = Extraction(text_chars=source.limits.text_chars)
    add_page(text, found)
    return found.draft()


def add_page(text: str, found: Extraction) -> None:
    """Add a page's blocks, and its title and metadata where none are known yet."""
    if text.count("<") > _MAX_DEPTH and _depth(text) > _MAX_DEPTH:
        raise DocumentError(f"the page is nested more than {_MAX_DEPTH:,} deep")
    tree = LexborHTMLParser(text)
    body = tree.body
    if body is None:
        return
    if not found.metadata:
        found.metadata = _metadata(tree)
    before = found.is_empty
    content = _main(tree, body)
    flow = _Flow(found, whole=False)
    flow.run(content)
    if before and found.is_empty:
        flow = _Flow(found, whole=True)
        flow.run(body)
    stated = tree.css_first("title")
    found.title = found.title or flow.main_heading or (stated.text().strip() if stated is not None else "")


def _depth(text: str) -> int:
    """About how many elements are open at once, at most; forgets what a page never closes in the usual ways."""
    depth = deepest = 0
    for match in _OPENING.finditer(text):
        if match.group(1) == "":
            depth += 1
            deepest = max(deepest, depth)
        elif depth:
            depth -= 1
    return deepest


def _main(tree: LexborHTMLParser, body: LexborNode) -> LexborNode:
    """The element that says it is the main content, if it holds enough of the text."""
    candidates = [*tree.css("main"), *tree.css("[role=main]")]
    articles = tree.css("article")
    candidates += articles if len(articles) == 1 else []
    total = len(body.text())
    for node in candidates[:4]:
        if len(node.text()) >= _MAIN_SHARE * total:
            return node
    return body


def _metadata(tree: LexborHTMLParser) -> dict[str, Value]:
    found: dict[str, Value] = {}
    wanted = {
        "author": "author", "article:author": "author", "dc.creator": "author", "description": "description",
        "og:description": "description", "keywords": "tags", "date": "date", "dc.date": "date",
        "article:published_time": "date", "article:modified_time": "modified", "og:site_name": "site",
    }  # fmt: skip
    for meta in tree.css("meta")[:200]:
        attributes = meta.attributes
        name = (attributes.get("name") or attributes.get("property") or "").lower()
        content = attributes.get("content") or ""
        if name in wanted and content and not content.startswith(("http:", "https:")):
            found.setdefault(wanted[name], content)
    root = tree.css_first("html")
    language = root.attributes.get("lang") if root is not None else None
    if language:
        found["language"] = language
    return normalised(found)


class _Flow:
    """One pass over a tree, without recursion: text gathers until a block ends."""

    def __init__(self, found: Extraction, *, whole: bool) -> None:
        self.main_heading = ""  # the first of level 1
        self._found = found
        self._whole = whole  # navigation and the like as well
        self._text: list[str] = []
        self._cells: list[str] = []
        self._lists: list[int] = []  # one per open list: the next number, or -1 for bullets
        self._marker = ""  # of the list item that has begun and has no text yet
        self._heading = 0  # level of the open heading
        self._pre = 0  # open preformatted elements
        self._in_cell = 0  # open table cells

    def run(self, root: LexborNode) -> None:
        """Add everything below `root`."""
        node = root
        while True:
            entered = self._enter(node)
            child = node.first_child if entered else None
            if child is not None:
                node = child
                continue
            if entered:
                self._leave(node)
            following = None
            while following is None and node.mem_id != root.mem_id:
                following = node.next
                if following is None and node.parent is not None:
                    node = node.parent
                    self._leave(node)
            if following is None:
                break
            node = following
        self._flush()

    def _enter(self, node: LexborNode) -> bool:
        """True if the children of `node` are wanted."""
        tag = node.tag
        if tag == "-text":
            text = node.text_content or ""
            self._text.append(text if self._pre else text.replace("\n", " "))
            return False
        if tag is None or tag in _NO_TEXT or (not self._whole and self._is_around(node, tag)):
            return False
        if tag == "math":
            self._text.append(node.attributes.get("alttext") or node.text(separator=" "))
            return False
        if tag == "br":
            self._text.append("\n" if not self._in_cell else " ")
            return False
        if tag in _BLOCKS:
            self._open(node, tag)
        elif tag in {"td", "th"} and not self._in_cell:
            self._text.clear()
        if tag in {"td", "th"}:
            self._in_cell += 1
        return True

    def _open(self, node: LexborNode, tag: str) -> None:
        self._flush()
        if tag in {"ul", "ol"}:
            start = node.attributes.get("start") or "1"
            number = int(start) if start.isdecimal() and len(start) < 7 else 1
            self._lists.append(number if tag == "ol" else -1)
        elif tag == "li" and self._lists:
            number = self._lists[-1]
            self._marker = f"{number}. " if number >= 0 else "- "
            self._lists[-1] += number >= 0
        elif tag in _HEADINGS:
            self._heading = _HEADINGS[tag]
        elif tag == "pre":
            self._pre += 1

    def _leave(self, node: LexborNode) -> None:
        tag = node.tag
        if tag in {"td", "th"} and self._in_cell:
            self._in_cell -= 1
            if not self._in_cell:
                self._cells.append(" ".join("".join(self._text).split()))
                self._text.clear()
        elif tag == "tr" and not self._in_cell:
            self._row()
        elif tag in _BLOCKS:
            self._flush()
            if tag in {"ul", "ol"} and self._lists:
                self._lists.pop()
            elif tag == "pre":
                self._pre = max(0, self._pre - 1)
            elif tag in _HEADINGS:
                self._heading = 0

    def _is_around(self, node: LexborNode, tag: str) -> bool:
        if tag in _AROUND:
            return True
        attributes = node.attributes
        if not attributes:
            return False
        if "hidden" in attributes or attributes.get("aria-hidden") == "true":
            return tag != "body"
        if (attributes.get("role") or "") in _AROUND_ROLES:
            return True
        return not _AROUND_CLASSES.isdisjoint((attributes.get("class") or "").lower().split())

    def _row(self) -> None:
        """A table's row; a row of one long cell is layout, not data."""
        cells = [cell for cell in self._cells if cell]
        self._cells.clear()
        if len(cells) == 1:
            self._found.paragraph(cells[0])
        elif cells:
            self._found.row(" | ".join(cells))

    def _flush(self) -> None:
        """End a block: what has gathered becomes what its surroundings say."""
        if self._in_cell:
            self._text.append(" ")
            return
        text = "".join(self._text)
        self._text.clear()
        if not text or text.isspace():
            return
        if self._pre:
            self._found.code(text)
            return
        if self._heading:
            if self._heading == 1:
                self.main_heading = self.main_heading or " ".join(text.split())
            self._found.heading(text, self._heading)
        elif self._lists:
            self._found.item(text, marker=self._marker or "  ", depth=len(self._lists) - 1)
            self._marker = ""
        else:
            self._found.paragraph(text)
