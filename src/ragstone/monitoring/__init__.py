"""What operations took, how often they failed, and ways to hand that on; knows nothing of documents or searches.

Import from the modules: `monitor` keeps the figures, `timing` records them, `prometheus`, `statsd` and `spans` hand
them on, `reporting` does so at intervals.
"""
