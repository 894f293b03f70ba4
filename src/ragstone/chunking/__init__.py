"""Cuts documents into chunks along their structure, and text into sentences.

`chunker.chunk_document` is the way in; `sentences.sentences` is used by answering too. Knows nothing of
files, models or stores: a tokenizer comes in as the `TokenCounter` protocol.
"""
