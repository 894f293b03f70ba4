"""Office equations (OMML) as one readable line: `x = (-b ± √(b^2 - 4ac))/(2a)`."""

from __future__ import annotations

from typing import Any

from ragstone.documents.safe_xml import attribute, local


def linear(element: Any) -> str:
    """The equation on one line. The parser bounds the depth."""
    name = local(element)
    if name in {"t", "delText"}:
        return element.text or ""
    if name.endswith("Pr"):
        return ""
    parts = {local(child): linear(child) for child in element}
    inside = "".join(linear(child) for child in element) if name not in _FORMS else ""
    if name in _FORMS:
        return _FORMS[name](parts, element)
    return inside


def _group(text: str) -> str:
    text = text.strip()
    return text if len(text) < 2 or text.isalnum() else f"({text})"


def _property(element: Any, name: str, default: str) -> str:
    for child in element.iter():
        if local(child) == name:
            return attribute(child, "val")
    return default


def _delimited(parts: dict[str, str], element: Any) -> str:
    inside = ", ".join(linear(child) for child in element if local(child) == "e")
    return _property(element, "begChr", "(") + inside + _property(element, "endChr", ")")


def _big_operator(parts: dict[str, str], element: Any) -> str:
    lower, upper = parts.get("sub", ""), parts.get("sup", "")
    operator = _property(element, "chr", "∫")
    operator += f"_{_group(lower)}" if lower else ""
    operator += f"^{_group(upper)}" if upper else ""
    return f"{operator} {parts.get('e', '')}"


def _root(parts: dict[str, str], element: Any) -> str:
    degree = parts.get("deg", "")
    return f"{degree}√{_group(parts.get('e', ''))}"


def _matrix(parts: dict[str, str], element: Any) -> str:
    rows = [", ".join(linear(cell) for cell in row) for row in element if local(row) == "mr"]
    return f"[{'; '.join(rows)}]"


_FORMS = {
    "f": lambda parts, _: f"{_group(parts.get('num', ''))}/{_group(parts.get('den', ''))}",
    "sSup": lambda parts, _: f"{parts.get('e', '')}^{_group(parts.get('sup', ''))}",
    "sSub": lambda parts, _: f"{parts.get('e', '')}_{_group(parts.get('sub', ''))}",
    "sSubSup": lambda parts, _: (
        f"{parts.get('e', '')}_{_group(parts.get('sub', ''))}^{_group(parts.get('sup', ''))}"
    ),
    "rad": _root,
    "d": _delimited,
    "nary": _big_operator,
    "m": _matrix,
}
