"""Bad networks that a call is measured on, and what theory says of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mulisa.compare.metrics import Topology


@dataclass(frozen=True, slots=True)
class Impairment:
    """What is wrong with the network of each of the two people who speak."""

    name: str
    loss: float = 0.0
    """Fraction of the IP packets that vanish, each way."""
    delay: float = 0.0
    """Seconds that each packet comes late, each way."""
    jitter: float = 0.0
    """Seconds by which that differs, more or less."""
    uplink_kbps: int = 0
    """The most that they can send, kb/s of IP packets; 0: no limit."""


GOOD: Final = Impairment("good network")
UPLINK: Final = Impairment("uplink 256 kb/s", uplink_kbps=256)
IMPAIRMENTS: Final = (
    GOOD,
    Impairment("loss 5 %", loss=0.05),
    Impairment("loss 10 %", loss=0.10),
    Impairment("delay 60 ms, jitter 40 ms", delay=0.060, jitter=0.040),
    UPLINK,
)
_NAMED: Final = {each.name: each for each in IMPAIRMENTS}


def concealed(
    topology: Topology, participants: int, condition: str, wire_kbps: float
) -> float | None:
    """% of a voice that must be made up, if nothing repairs the loss; None where that is open.

    What goes from one of the two to the other passes both their networks. An uplink that is too
    narrow for a copy to each listener loses what is too much of it (`wire_kbps` each).
    """
    given = _NAMED.get(condition)
    if given is None or given.jitter:
        return None
    copies = participants if topology == "mesh" else 1
    wanted = copies * wire_kbps
    narrow = max(0.0, 1 - given.uplink_kbps / wanted) if given.uplink_kbps else 0.0
    arrives = (1 - given.loss) ** 2 * (1 - narrow)
    return round(100 * (1 - arrives), 3)
