"""Memories: short statements kept in five tiers, recalled by meaning, consolidated, audited and forgotten.

`store.MemoryStore` is the whole of it, synchronous; `backend.MemoryBackend` and `consolidator.MemoryConsolidator` are
the async names that document 003 gives.
"""
