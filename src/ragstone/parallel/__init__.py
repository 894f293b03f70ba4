"""Several sources asked at once: each with a deadline and a circuit breaker, the query embedded once, nothing hidden.

`retriever.ParallelRetriever` is the whole of it and `prefetch` the names that document 001 gives. `runner`, `threads`
and `breaker` know nothing of searches: calls that may hang, kept from holding anything else up.
"""
