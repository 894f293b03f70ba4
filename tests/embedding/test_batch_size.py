"""The size of a batch: as the load and a bound on the latency ask, learnt from what batches took."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from ragstone.embedding.batch_size import BatchSize
from ragstone.errors import InputError

FIXED_S, EACH_S = 0.005, 0.001


def test_without_a_bound_the_size_is_fixed() -> None:
    size = BatchSize(32)
    for _ in range(50):
        size.note(32, 60.0, waiting=500)
    assert (size.limit, size.full, size.patience_s(0.1)) == (32, 32, 0.1)


def test_the_first_batch_under_a_bound_is_one_text_and_sizes_double_from_there() -> None:
    size = BatchSize(64, p95_ms=1_000)
    limits = []
    for _ in range(40):
        limits.append(size.limit)
        size.note(size.limit, FIXED_S + EACH_S * size.limit, waiting=200)
    assert limits[0] == 1
    assert all(after <= 3 * before for before, after in pairwise(limits))
    assert limits[-1] == 64


def simulated(size: BatchSize, *, arrivals_s: list[float], seed: int = 1) -> tuple[list[float], list[int]]:
    """One model that takes 5 ms and 1 ms a text, give or take a tenth; the latency of each text and the batch sizes."""
    noise, latencies, sizes = random.Random(seed), [], []
    waiting: list[float] = []
    now_s, arriving = 0.0, list(arrivals_s)
    while arriving or waiting:
        while arriving and arriving[0] <= now_s:
            waiting.append(arriving.pop(0))
        due_s = waiting[0] + size.patience_s(0.1) if waiting else arriving[0]
        if not waiting or (len(waiting) < size.full and now_s < due_s):
            now_s = min([due_s, *arriving[:1]])
            continue
        batch, found = waiting[: size.limit], len(waiting)
        waiting = waiting[size.limit :]
        took_s = (FIXED_S + EACH_S * len(batch)) * noise.uniform(0.9, 1.1)
        now_s += took_s
        size.note(len(batch), took_s, waiting=found)
        sizes.append(len(batch))
        latencies += [now_s - since for since in batch]
    return latencies, sizes


def arrivals(per_second: float, seconds: float, start_s: float = 0.0, seed: int = 2) -> list[float]:
    """Poisson arrivals."""
    choice, at_s, found = random.Random(seed), start_s, []
    while (at_s := at_s + choice.expovariate(per_second)) < start_s + seconds:
        found.append(at_s)
    return found


def p95(latencies: list[float]) -> float:
    return sorted(latencies)[int(0.95 * len(latencies))]


def test_a_step_of_the_load_makes_batches_grow_and_the_p95_stays_below_the_bound() -> None:
    # 500 texts a second are more than one by one (6 ms each) could take, and less than batches of 32 can.
    size = BatchSize(32, p95_ms=100)
    calm, step = arrivals(20, 20), arrivals(500, 20, start_s=20)
    latencies, sizes = simulated(size, arrivals_s=calm + step)
    batches_of_calm = sizes[: len(sizes) // 20]
    assert sum(batches_of_calm) / len(batches_of_calm) < 3
    assert sum(sizes[-200:]) / 200 > 6
    assert p95(latencies[: len(calm)]) < 0.1
    assert p95(latencies[len(calm) + 500 :]) < 0.1  # after a second to learn in


def test_a_model_that_slows_down_gets_smaller_batches() -> None:
    size = BatchSize(32, p95_ms=100)
    for _ in range(50):
        size.note(size.limit, FIXED_S + EACH_S * size.limit, waiting=100)
    before = size.limit
    for _ in range(50):
        size.note(size.limit, 10 * (FIXED_S + EACH_S * size.limit), waiting=100)
    assert size.limit < before / 3


def test_senseless_sizes_and_bounds_are_refused() -> None:
    with pytest.raises(InputError, match="0 texts"):
        BatchSize(0)
    with pytest.raises(InputError, match="p95_ms"):
        BatchSize(1, p95_ms=0)
