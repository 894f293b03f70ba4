"""Retrieval quality and speed on test sets in the BEIR layout."""
