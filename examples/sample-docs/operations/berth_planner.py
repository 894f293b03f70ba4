"""Which ship lies at which berth in Hollin, and when two of them would be in each other's way."""

from dataclasses import dataclass

# Minutes between one ship leaving a berth and the next arriving. Below 12 the lines of the two crossed in 2017.
MIN_GAP_MINUTES = 12

# Depth in metres at the lowest tide.
BERTHS = {"north": 4.1, "south": 3.4, "inner": 2.0}


@dataclass(frozen=True)
class Call:
    """One stay of a ship: arrival and departure in minutes after midnight."""

    ship: str
    draught_m: float
    arrives: int
    leaves: int


def fits(call: Call, berth: str, *, tide_m: float) -> bool:
    """Whether the ship floats at the berth with half a metre of water under the keel."""
    return BERTHS[berth] + tide_m >= call.draught_m + 0.5


def plan(calls: list[Call], *, tide_m: float = 0.0) -> dict[str, list[Call]]:
    """First come, first served; the shallowest berth that fits, so that the deep ones stay free.

    Raises ValueError if a call finds no berth: then somebody has to wait outside, and a person decides who.
    """
    stays: dict[str, list[Call]] = {berth: [] for berth in BERTHS}
    for call in sorted(calls, key=lambda c: c.arrives):
        for berth in sorted(BERTHS, key=lambda name: BERTHS[name]):
            free = all(call.arrives - other.leaves >= MIN_GAP_MINUTES for other in stays[berth])
            if free and fits(call, berth, tide_m=tide_m):
                stays[berth].append(call)
                break
        else:
            raise ValueError(f"no berth for {call.ship} at minute {call.arrives}")
    return stays
