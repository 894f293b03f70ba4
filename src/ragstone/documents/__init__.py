"""Files become text with structure: walk folders, read each file in a limited child process.

Knows nothing of chunks, embeddings or stores.
"""
