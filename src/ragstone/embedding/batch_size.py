"""How many texts share a batch: as many as the load fills and the bound on latency leaves time for."""

from __future__ import annotations

from ragstone.errors import InputError

# A text may come just after a batch has begun: it waits for companions, for that batch, and for its own. Of the bound,
# each batch gets three eighths and the wait a quarter.
_BATCH_SHARE = 3 / 8
_PATIENCE_SHARE = 1 / 4
# Weight of the newest batch in the running averages: a step of the load is followed within some ten batches.
_NEWEST = 0.2
# The slowest of twenty batches must fit too: the estimate of a batch's time is raised by this many of its own errors.
_ERRORS_ABOVE = 2.0


class BatchSize:
    """Fixed at `most`, or between 1 and `most` under a bound on the p95 of the latency. Not thread-safe.

    A batch of n texts is taken to cost a + b·n seconds: a line through running averages of the batches seen.
    """

    def __init__(self, most: int, *, p95_ms: float | None = None) -> None:
        """Raises `InputError` for a size below 1 or a bound that is not above 0."""
        if most < 1:
            raise InputError(f"a batch of {most} texts cannot be embedded, the least is 1")
        if p95_ms is not None and p95_ms <= 0:
            raise InputError(f"p95_ms is {p95_ms}, it must be above 0")
        self.most = most
        self._bound_s = None if p95_ms is None else p95_ms / 1e3
        self._demand = 1.0  # texts that wait when a batch is taken
        self._seen = 0
        self._mean_n = self._mean_s = self._mean_nn = self._mean_ns = self._mean_error_s = 0.0

    @property
    def limit(self) -> int:
        """The most texts that a batch may have."""
        if self._bound_s is None:
            return self.most
        if not self._seen:
            return 1  # of the model nothing is known yet
        fixed_s, each_s = self._line()
        left_s = self._bound_s * _BATCH_SHARE - fixed_s - _ERRORS_ABOVE * self._mean_error_s
        fitting = self.most if each_s <= 0 else int(left_s / each_s)
        # One text is learnt from one text: the line says nothing of sizes far from those seen.
        return max(1, min(self.most, fitting, 2 * round(self._mean_n) + 1))

    @property
    def full(self) -> int:
        """So many waiting texts make a batch at once. Under a bound, what the load usually brings together."""
        if self._bound_s is None:
            return self.most
        return max(1, min(self.limit, round(self._demand)))

    def patience_s(self, queue_timeout_s: float) -> float:
        """How long a text may wait for companions."""
        return (
            queue_timeout_s
            if self._bound_s is None
            else min(queue_timeout_s, self._bound_s * _PATIENCE_SHARE)
        )

    def note(self, texts: int, seconds: float, *, waiting: int) -> None:
        """Learn from a batch of `texts` that took `seconds`; `waiting` is how many had been there to take."""
        if self._seen:
            fixed_s, each_s = self._line()
            error_s = abs(seconds - fixed_s - each_s * texts)
            self._mean_error_s += _NEWEST * (error_s - self._mean_error_s)
        newest = _NEWEST if self._seen else 1.0
        self._seen += 1
        self._mean_n += newest * (texts - self._mean_n)
        self._mean_s += newest * (seconds - self._mean_s)
        self._mean_nn += newest * (texts * texts - self._mean_nn)
        self._mean_ns += newest * (texts * seconds - self._mean_ns)
        self._demand += _NEWEST * (waiting - self._demand)

    def _line(self) -> tuple[float, float]:
        """(a, b), seconds; neither negative."""
        variance = self._mean_nn - self._mean_n**2
        if variance < 1e-9:  # all batches alike: as if time went by text, which overrates larger ones
            return 0.0, self._mean_s / self._mean_n
        each_s = max(0.0, (self._mean_ns - self._mean_n * self._mean_s) / variance)
        fixed_s = self._mean_s - each_s * self._mean_n
        if fixed_s < 0:
            return 0.0, self._mean_s / self._mean_n
        return fixed_s, each_s
