"""The built-in model, all-MiniLM-L6-v2: 384 dimensions, 256 tokens, mean pooling, no network needed."""

from __future__ import annotations
