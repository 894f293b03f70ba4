"""A client of the HTTP service, blocking and asynchronous, over one core that does no input or output.

`calls` says what is sent and what an answer means; `exchange`, `attempts` and `streams` are generators that ask for
bytes, connections and pauses (`steps`); `blocking` and `asynchronous` do as asked. A call is written once.
"""
