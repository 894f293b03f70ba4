"""FAISS indexes to use alone: ids and metadata, deletion, filters, generations on disk, shards.

Over the plans and builders that segments use as well; import classes from their modules, or from ragstone.
"""
