"""A bundle that declares computed features trades on the bits that research computed."""

from dataclasses import replace
from datetime import date

import msgspec
import numpy as np
import pytest

from featurestore.features import library as f
from featurestore.features.serving import contract_hash
from featurestore.universes import US_LARGE_CAPS
from pipelines.compile import compile_strategy
from pipelines.strategy import Strategy
from runtime.bundles.bundle import load_bundle
from runtime.bundles.contract import DeclaredInput
from runtime.bundles.golden import GoldenRow, golden_bytes
from runtime.bundles.inference import DecisionSession
from runtime.bundles.inputs import Latest, gather
from runtime.bundles.signing import load_trusted
from runtime.replay import replay
from tests.fakes.graphs import tilt_bundle, tilt_files, tilt_manifest, tilt_signer
from tests.fakes.market import XNYS, open_bench

CLOSE = "us_equities.close"
SYMBOLS = US_LARGE_CAPS.symbols
START, END = date(2017, 1, 3), date(2017, 6, 30)


def decide(xp, inputs):
    held = xp.astype(inputs.strength > 0.7, xp.float64) / inputs.risk
    return inputs.strength, held / xp.sum(held)


STRATEGY = Strategy(
    inputs={
        "strength": f.rank(f.momentum(CLOSE, lookback=126, skip=5)),
        "risk": f.residual_volatility(CLOSE, "us_index.close[SP500]", bars=63),
    },
    decide=decide,
    parameters={},
)


@pytest.fixture
def bench(tmp_path, market):
    graph = compile_strategy(STRATEGY, len(SYMBOLS))
    session, rows = DecisionSession(graph), []
    for day in (date(2016, 9, 30), date(2016, 12, 30)):
        at = XNYS.session(day).close
        seen = gather(market, STRATEGY.inputs, SYMBOLS, at=at, current=np.zeros(20))
        said = session.run(seen)
        rows.append(GoldenRow(at=at.isoformat(), inputs=seen, score=said.score, weight=said.weight))
    plain = tilt_manifest(SYMBOLS, schedule="month_end", feature=CLOSE)
    inputs = tuple(
        DeclaredInput(
            name=name, source=source, view_hash=contract_hash(source.feature, market.view)
        )
        for name, source in STRATEGY.inputs.items()
    )
    manifest = msgspec.structs.replace(plain, inputs=inputs)
    files = {**tilt_files(SYMBOLS), "graph.onnx": graph, "golden.parquet": golden_bytes(rows)}
    keys = tmp_path / "own"
    path = tilt_bundle(tmp_path / "made", tilt_signer(keys), manifest=manifest, files=files)
    bundle = load_bundle(path, load_trusted(keys / "trusted.json"))
    made = open_bench(tmp_path / "desk", market=market, manifest=plain)
    made.desk = replace(made.desk, bundle=bundle, approved=lambda: bundle.hash)
    yield made
    made.close()


def test_a_replay_decides_on_the_bits_that_research_computes(bench, market):
    result = replay(bench.engine(), XNYS, START, END)
    assert result.decisions == 6
    assert result.breaks == 0
    assert result.fills > 0
    decided = bench.desk.journal.decisions(limit=10)
    assert len(decided) == 6
    at = [one.record.decided_at for one in decided]
    bulk = {
        name: market.windows(source.feature, SYMBOLS, length=1, at=at)[:, :, 0]
        for name, source in STRATEGY.inputs.items()
        if isinstance(source, Latest)
    }
    for d, one in enumerate(decided):
        assert one.record.notes == ()
        seen = bench.desk.journal.decision(one.record.decision_id).record.inputs
        for name, values in bulk.items():
            assert np.asarray(seen[name]).tobytes() == values[d].tobytes()
