"""A decision through the engine's session beside the same graph run bare, and its p99 under load.

Ours checks names, types and shapes of inputs, and that outputs are finite and within bounds. The
quietest of interleaved batches on each side, inputs rotated. The open loop offers twice the usual
load on a fixed schedule and times each decision from its scheduled instant, best of three.
"""

from collections.abc import Callable, Mapping
from time import perf_counter, sleep

import numpy as np
import onnxruntime

from runtime.bundles.inference import OUTPUTS, DecisionSession
from runtime.bundles.inputs import Array
from tests.fakes.graphs import WINDOW, tilt_graph

SIZES = (50, 500, 3000)  # symbols
BATCHES, CALLS = 40, 50
AT_MOST = 1.3  # times the bare session
LOAD, SECONDS, P99_MS = 100, 3.0, 5.0  # decisions a second, of 500 symbols; twice that is offered

Inputs = Mapping[str, Array]


def run() -> list[dict[str, object]]:
    """Time ours and the bare session on the same inputs."""
    graph = tilt_graph()
    ours, bare = DecisionSession(graph), _bare(graph)
    figures = [_ratio(ours, bare, _inputs(count), count) for count in SIZES]
    worst = min(_p99(ours, _inputs(500), 2 * LOAD) for _ in range(3))
    return [
        *figures,
        {
            "name": f"inference, 500 symbols, p99 at {2 * LOAD}/s",
            "ours": worst,
            "peer": P99_MS,
            "peer_name": "limit",
            "ratio": P99_MS / worst,
            "unit": "ms",
        },
    ]


def _ratio(
    ours: DecisionSession,
    bare: onnxruntime.InferenceSession,
    rotated: list[Inputs],
    count: int,
) -> dict[str, object]:
    mine, theirs = [], []
    for _ in range(BATCHES):
        mine.append(_batch(ours.run, rotated))
        theirs.append(_batch(lambda inputs: bare.run(OUTPUTS, inputs), rotated))
    allowed = AT_MOST * min(theirs)
    return {
        "name": f"inference through the engine, {count} symbols",
        "ours": min(mine),
        "peer": allowed,
        "peer_name": f"{AT_MOST} x a bare InferenceSession.run",
        "ratio": allowed / min(mine),
        "unit": "us",
    }


def _batch(decide: Callable[[Inputs], object], rotated: list[Inputs]) -> float:
    start = perf_counter()
    for number in range(CALLS):
        decide(rotated[number % len(rotated)])
    return 1e6 * (perf_counter() - start) / CALLS


def _p99(ours: DecisionSession, rotated: list[Inputs], rate: int) -> float:
    """Return the p99 in milliseconds of an open loop at `rate` decisions a second."""
    taken, start = [], perf_counter()
    for number in range(int(rate * SECONDS)):
        due = start + number / rate
        while (left := due - perf_counter()) > 0:
            sleep(left)
        ours.run(rotated[number % len(rotated)])
        taken.append(perf_counter() - due)
    return 1000 * float(np.quantile(taken, 0.99))


def _bare(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(
        graph, sess_options=options, providers=["CPUExecutionProvider"]
    )


def _inputs(count: int) -> list[Inputs]:
    random = np.random.default_rng(count)
    return [
        {
            "prices": random.uniform(50, 150, (count, WINDOW)),
            "current": np.full(count, 0.9 / count),
        }
        for _ in range(16)
    ]
