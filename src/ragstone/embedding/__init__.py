"""Texts to unit vectors: the built-in model, ONNX encoders from a folder or hub, and HTTP endpoints."""

from __future__ import annotations

from ragstone.embedding.load import load_embedder

__all__ = ["load_embedder"]
