"""`sluice explain` of a decision that says how sure it is."""

import json
from datetime import date

import pytest

from runtime.bundles.golden import golden_bytes
from runtime.errors import JournalBroken
from service.commands import explain
from service.console import Output
from tests.fakes.sure import DECLARED, FLOOR, sure_graph, sure_rows
from tests.fakes.trading import SYMBOLS, traded_workspace


@pytest.fixture(scope="module")
def traded(tmp_path_factory):
    graph = sure_graph()
    files = {"graph.onnx": graph, "golden.parquet": golden_bytes(sure_rows(graph, SYMBOLS))}
    return traded_workspace(
        tmp_path_factory.mktemp("sure") / "ws",
        end=date(2017, 3, 1),
        files=files,
        confidence=DECLARED,
    )[0]


def test_it_tells_each_symbol_s_confidence_and_who_abstained(traded, capsys):
    assert explain.show_ablations(traded, Output(as_json=True), "2017-02-28") == 0
    answer = json.loads(capsys.readouterr().out)
    sure = answer["confidence"]
    assert (sure["of"], sure["means"]) == (DECLARED.of, DECLARED.means)
    by_symbol = dict(zip(answer["symbols"], sure["values"], strict=True))
    assert len(by_symbol) == len(SYMBOLS)
    assert set(sure["abstained"]) == {name for name, value in by_symbol.items() if value < FLOOR}
    assert sure["abstained"]
    (prices,) = (one for one in answer["inputs"] if one["input"] == "prices")
    assert len(prices["confidence"]) == len(SYMBOLS)


def test_it_shows_the_surest_and_the_rule(traded, capsys):
    explain.show_ablations(traded, Output(as_json=False), "2017-02-28")
    shown = " ".join(capsys.readouterr().out.split())
    assert "confidence of crowd: " in shown
    assert "below 50.0% a symbol has no weight: " in shown


def test_a_confidence_that_no_longer_comes_out_is_not_explained_away(traded, monkeypatch):
    class Moody:
        def __init__(self, session):
            self.session = session

        def run(self, inputs):
            said = self.session.run(inputs)
            said.confidence[0] += 1e-9
            return said

    import runtime.bundles.bundle

    load = runtime.bundles.bundle.load_bundle

    def moody(*given, **options):
        bundle = load(*given, **options)
        object.__setattr__(bundle, "session", Moody(bundle.session))
        return bundle

    monkeypatch.setattr(runtime.bundles.bundle, "load_bundle", moody)
    with pytest.raises(JournalBroken, match="no longer decides"):
        explain.show_ablations(traded, Output(as_json=True), "2017-02-28")
