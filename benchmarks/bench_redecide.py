"""A decision taken again whole from its journal, beside taking it live; CPU time.

Made-up accounts of two to four symbols live for some hundred sessions each by the code that decides
live; then each decision is taken again: fold of the chain, stored inputs, scene and limits, graph,
plan, guardrails, routes, and the comparison of its entry byte by byte. The last row is what a
million of both cost two cores, against the quarter of an hour it may take.
"""

import tempfile
from pathlib import Path
from statistics import median

from tests.golden.million import make, prove

RUNS = 3
LIVES = {7: 200, 8: 200, 22: 200}  # seed -> sessions
ALLOWED = 900.0  # s, a million made and taken again on two cores


def run() -> list[dict[str, object]]:
    """Time lives and their proofs, one after the other."""
    made, proved = [], []
    for _ in range(RUNS):
        making, proving = _measured()
        made.append(making)
        proved.append(proving)
    live, again = median(made), median(proved)
    million = (live + again) * 1e6 / 2 / 1000
    return [
        _row("decision taken again from its journal, whole", again, live, "taken live", "ms"),
        _row("a million decisions made and taken again, 2 cores", million, ALLOWED, "limit", "s"),
    ]


def _measured() -> tuple[float, float]:
    """Return ms of CPU per decision, made and proved."""
    decisions = sum(LIVES.values())
    making = proving = 0.0
    with tempfile.TemporaryDirectory() as name:
        for seed, sessions in LIVES.items():
            place = Path(name) / f"{seed}.db", seed, sessions
            making += make(place)[1]
            _, _, whole, differences, cpu = prove(place)
            proving += cpu
            if differences or whole != sessions:
                raise RuntimeError(f"{differences[:3]} of {whole} decisions differ")
    return 1000 * making / decisions, 1000 * proving / decisions


def _row(name: str, ours: float, peer: float, peer_name: str, unit: str) -> dict[str, object]:
    return {
        "name": name,
        "ours": ours,
        "peer": peer,
        "peer_name": peer_name,
        "ratio": peer / ours,
        "unit": unit,
    }
