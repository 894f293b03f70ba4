"""What a search of a `FAISSIndex` gives back, and how costs become scores and distances."""

from __future__ import annotations

from dataclasses import dataclass

from ragstone.faiss_index.columns import Identifier, Json
from ragstone.faiss_index.snapshot import Found, Snapshot


@dataclass(frozen=True, slots=True)
class VectorHit:
    """One found vector. `score` is higher for better, `distance` lower.

    l2: `distance` is the Euclidean distance d, `score` 1/(1+d²). cosine: `score` is the cosine, `distance` 1 − cosine.
    ip: `score` is the inner product, `distance` its negative.
    """

    id: Identifier
    score: float
    distance: float
    metadata: dict[str, Json]


def vector_hits(snapshot: Snapshot, found: Found, threshold: float) -> list[VectorHit]:
    """The found rows as hits, in their order; those with a score below a threshold other than 0 are left out."""
    hits: list[VectorHit] = []
    for row, cost in zip(found.rows.tolist(), found.costs.tolist(), strict=True):
        match snapshot.metric:
            case "l2":
                score, distance = 1 / (1 + cost), cost**0.5
            case "cosine":
                score, distance = -cost, 1 + cost
            case "ip":
                score, distance = -cost, cost
        if threshold and score < threshold:
            break
        hits.append(VectorHit(snapshot.ids[row], score, distance, dict(snapshot.metadata[row])))
    return hits
