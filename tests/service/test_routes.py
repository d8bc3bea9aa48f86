"""The live API over a journal that a real engine wrote."""

from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime
from decimal import Decimal

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from runtime.bundles.contract import SizingPolicy
from runtime.domain import OrderType, TimeInForce
from runtime.engine import fund
from runtime.errors import DatabaseUnavailable
from runtime.execution.style import Execution
from service.app import create_app
from service.books.index import Index
from service.books.reading import Reading
from service.settings import read_settings
from service.trading.proof import prove_here
from service.web import answers as a
from service.wiring import open_live
from tests.fakes.graphs import tilt_manifest
from tests.fakes.market import CAPITAL, open_bench
from tests.fakes.trading import SYMBOLS, promoted_workspace, traded_workspace
from tests.runtime.engine.sessions import run


def app_over(settings) -> Litestar:
    return create_app(open_live(settings, monotonic=time.monotonic, prove=prove_here))


@pytest.fixture(scope="module")
def traded(tmp_path_factory):
    return traded_workspace(tmp_path_factory.mktemp("traded") / "ws")


@pytest.fixture(scope="module")
def client(traded):
    """A service that has seated its bundle; the proof goes on beside its first answers."""
    with TestClient(app_over(traded[0])) as client:
        deadline = time.monotonic() + 120
        while client.get("/health").status_code != 200:
            assert time.monotonic() < deadline, client.get("/health").text
            time.sleep(0.05)
        yield client


@pytest.fixture
def empty(tmp_path):
    with TestClient(app_over(read_settings({}, workspace=tmp_path / "ws"))) as client:
        yield client


def get(client, path, kind, **query):
    reply = client.get(path, params=query)
    assert reply.status_code == 200, reply.text
    return msgspec.json.decode(reply.content, type=kind)


def refused(client, path, status, **query) -> a.Problem:
    reply = client.get(path, params=query)
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    return msgspec.json.decode(reply.content, type=a.Problem)


def test_signals_are_the_newest_decision_s_ranked_by_score(client):
    found = get(client, "/signals", a.SignalsAnswer)
    assert (found.tick, found.study) == ("2017-06-30", "tilt")
    scores = [one.score for one in found.signals]
    assert scores == sorted(scores, reverse=True)
    assert sorted(one.symbol for one in found.signals) == sorted(SYMBOLS)
    assert sum(one.weight for one in found.signals) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("execution", "kind", "time_in_force"),
    [
        (None, "market", "day"),
        (
            Execution(order_type=OrderType.STOP, stop="0.005", time_in_force=TimeInForce.GTC),
            "stop",
            "gtc",
        ),
    ],
)
def test_an_order_is_answered_with_its_type_its_stop_price_and_its_time_in_force(
    tmp_path, execution, kind, time_in_force
):
    sizing = SizingPolicy() if execution is None else SizingPolicy(execution=execution)
    bench = open_bench(tmp_path, manifest=tilt_manifest(sizing=sizing))
    fund(bench.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    outcome = run(bench, date(2017, 1, 6))
    reading = Reading(
        journal=bench.desk.journal, index=Index(bench.desk.journal), inputs_of=lambda _: {}
    )
    (line, *_) = reading.plan(None).lines
    planned = outcome.decision.plan[0].order
    for shown in (line, line.orders[0], reading.order(line.orders[0].order_id)):
        assert (shown.order_type, shown.time_in_force) == (kind, time_in_force)
        assert shown.stop_price == planned.stop_price
    assert (line.stop_price is None) == (kind == "market")
    bench.close()


def test_a_day_shows_what_was_known_at_its_end(client):
    april = get(client, "/signals", a.SignalsAnswer, day="2017-05-30")
    may = get(client, "/signals", a.SignalsAnswer, day="2017-05-31")
    assert (april.tick, may.tick) == ("2017-04-28", "2017-05-31")
    books = get(client, "/positions", a.PositionsAnswer, day="2017-06-03")  # a Saturday
    assert str(books.day) == "2017-06-02"


def test_money_is_written_as_decimal_strings(client):
    raw = client.get("/positions").json()
    assert isinstance(raw["equity"], str)
    assert isinstance(raw["positions"][0]["value"], str)
    books = get(client, "/positions", a.PositionsAnswer)
    values = sum((one.value for one in books.positions), Decimal(0))
    assert abs(values + books.cash - books.equity) <= Decimal("0.01") * len(books.positions)


def test_unrealised_gains_add_up_to_the_session_s(client):
    books = get(client, "/positions", a.PositionsAnswer)
    session = get(client, "/sessions", a.SessionsAnswer, limit=1).items[0]
    gains = sum((one.unrealised for one in books.positions), Decimal(0))
    assert abs(gains - session.unrealised) <= Decimal("0.01") * len(books.positions)


def test_the_plan_carries_eight_verdicts_a_route_and_the_fills_of_each_order(client):
    plan = get(client, "/plan", a.PlanAnswer, day="2017-06-29")
    assert plan.tick == "2017-05-31"
    assert plan.lines
    for line in plan.lines:
        assert [verdict.check[0] for verdict in line.verdicts] == list("12345678")
        assert line.passed
        assert line.route
        assert sum(order.filled for order in line.orders) == line.quantity
        assert all(fill.fee >= 0 for order in line.orders for fill in order.fills)


def test_equity_and_benchmark_start_together_and_the_figures_belong_to_them(client):
    curve = get(client, "/equity", a.EquityAnswer)
    assert curve.equity[0] == curve.benchmark[0] == Decimal(1_000_000)
    assert len(curve.days) == len(curve.equity) == len(curve.benchmark)
    total = float(curve.equity[-1] / curve.equity[0] - 1)
    assert curve.strategy.total_return == pytest.approx(total)
    assert [str(day) for day in curve.decisions][:2] == ["2017-01-31", "2017-02-28"]
    part = get(client, "/equity", a.EquityAnswer, **{"from": "2017-03-01", "to": "2017-03-31"})
    assert (str(part.days[0]), str(part.days[-1])) == ("2017-03-01", "2017-03-31")


def test_sessions_and_decisions_are_paged_without_gap_or_repeat(client, traded):
    days, day = [], None
    while True:
        page = get(client, "/sessions", a.SessionsAnswer, limit=50, **({"day": day} if day else {}))
        days += [item.day for item in page.items]
        if page.next is None:
            break
        day = str(page.next)
    assert days == sorted(set(days), reverse=True)
    assert len(days) == traded[1].sessions

    ids, before = [], None
    while True:
        query = {"before": before} if before else {}
        page = get(client, "/decisions", a.DecisionsAnswer, limit=2, **query)
        ids += [item.decision_id for item in page.items]
        if page.next is None:
            break
        before = page.next
    assert len(ids) == len(set(ids)) == traded[1].decisions


def test_a_decision_shows_every_input_exactly_as_the_graph_was_given_it(client):
    listed = get(client, "/decisions", a.DecisionsAnswer).items[0]
    found = get(client, f"/decisions/{listed.decision_id}", a.DecisionAnswer)
    inputs = {one.name: one for one in found.inputs}
    assert inputs["prices"].shape == (len(SYMBOLS), 5)
    assert inputs["prices"].source == "last 5 of prices.close"
    assert (inputs["current"].shape, inputs["current"].unit) == ((len(SYMBOLS),), "fraction")
    scores = {one.symbol: one.score for one in found.signals}
    for symbol, (first, *_, last) in zip(found.symbols, inputs["prices"].values, strict=True):
        assert scores[symbol] == last / first - 1.0


def test_an_unambiguous_beginning_of_an_id_is_enough(client):
    listed = get(client, "/decisions", a.DecisionsAnswer).items[0]
    found = get(client, f"/decisions/{listed.decision_id[:10]}", a.DecisionAnswer)
    assert found.decision_id == listed.decision_id


def test_every_order_ever_sent_leads_back_to_the_cell_that_decided(client):
    orders = [
        order
        for item in get(client, "/decisions", a.DecisionsAnswer).items
        for line in get(client, f"/decisions/{item.decision_id}", a.DecisionAnswer).lines
        for order in line.orders
    ]
    assert len(orders) > 30
    for order in orders:
        origin = get(client, f"/orders/{order.order_id}/origin", a.OriginAnswer)
        assert origin.order.order_id == order.order_id
        assert origin.decision.decision_id == order.decision_id
        assert origin.cell.source.startswith("def decide(xp, inputs):")
        assert (origin.cell.cell, origin.cell.heading) == (3, "The decision")
    assert origin.study == "tilt"
    assert origin.trial.parameters == {"window": 5, "tilt": 8.0}
    assert origin.trial.run == "20161231T101500-tilt"
    assert origin.bundle.signer == "alice"
    assert origin.cell.notebook == "notebooks/strategies/tilt.ipynb"


def test_bundles_tell_who_activated_what_and_why(client):
    found = get(client, "/bundles", a.BundlesAnswer)
    assert found.active == found.history[0]
    assert (found.active.action, found.active.by, found.active.why) == (
        "activate",
        "alice",
        "passed SPA",
    )
    assert found.running == found.active.bundle


def test_health_is_ready_with_a_reason_for_every_check(client):
    found = get(client, "/health", a.Health)
    assert found.ready
    assert [check.name for check in found.checks] == ["journal", "bundle", "books"]
    assert all(check.reason for check in found.checks)
    assert "0.00" in found.checks[2].reason
    assert client.get("/health/live").json() == {"live": True}


def test_metrics_count_what_the_journal_holds_and_requests_by_route(client, traded):
    client.get("/decisions/nothing-like-it")
    text = client.get("/metrics").text
    assert f"sluice_fills_total {float(traded[1].fills)}" in text
    assert "sluice_breaks_total 0.0" in text
    assert "sluice_journal_up 1.0" in text
    assert 'route="/decisions/{decision_id}",status="404"' in text


def test_before_anything_traded_each_noun_says_so_with_a_remedy(empty):
    for path in ("/signals", "/plan", "/positions"):
        problem = refused(empty, path, 404)
        assert problem.remedy
        assert problem.instance == path
    assert get(empty, "/equity", a.EquityAnswer).days == ()
    assert get(empty, "/sessions", a.SessionsAnswer).items == ()
    assert get(empty, "/decisions", a.DecisionsAnswer).items == ()
    assert get(empty, "/bundles", a.BundlesAnswer).active is None
    deadline = time.monotonic() + 60
    while "is being verified" in (health := empty.get("/health")).text:
        assert time.monotonic() < deadline
    assert health.status_code == 503
    assert "sluice promote" in health.text


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/signals", {"day": "yesterday"}, 400),
        ("/sessions", {"limit": "0"}, 400),
        ("/sessions", {"limit": "501"}, 400),
        ("/equity", {"from": "2017-05-01", "to": "2017-04-01"}, 400),
        ("/decisions", {"before": "unknown"}, 404),
        ("/decisions/unknown", {}, 404),
        ("/orders/unknown", {}, 404),
        ("/orders/unknown/origin", {}, 404),
        ("/nothing", {}, 404),
    ],
)
def test_a_question_that_cannot_be_answered_is_a_problem_with_a_remedy(client, path, query, status):
    problem = refused(client, path, status, **query)
    assert problem.status == status
    assert problem.detail
    assert problem.remedy


def test_only_reading_is_possible(client):
    for method in ("post", "put", "delete"):
        assert getattr(client, method)("/signals").status_code == 405


def test_a_defect_of_ours_shows_nothing_of_its_inside(traded, monkeypatch):
    live = open_live(traded[0], monotonic=time.monotonic, prove=prove_here)

    def broken(*_: object) -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setattr(type(live.reading), "signals", broken)
    with TestClient(create_app(live), raise_server_exceptions=False) as client:
        problem = refused(client, "/signals", 500)
    assert "secret" not in problem.detail


def test_a_database_that_does_not_answer_is_told_apart_from_a_defect(traded, monkeypatch):
    live = open_live(traded[0], monotonic=time.monotonic, prove=prove_here)

    def gone(*_: object) -> None:
        raise DatabaseUnavailable("runtime.db does not answer")

    for name in ("head", "counts", "last_session"):
        monkeypatch.setattr(type(live.journal), name, gone)
    with TestClient(create_app(live)) as client:
        assert "SLUICE_DATABASE_URL" in refused(client, "/signals", 503).remedy
        assert "sluice_journal_up 0.0" in client.get("/metrics").text
        health = client.get("/health")
    assert health.status_code == 503
    assert "does not answer" in health.text


def test_an_origin_whose_bundle_was_altered_is_refused_by_file(tmp_path):
    settings, _ = traded_workspace(tmp_path / "ws", end=date(2017, 2, 3))
    (folder,) = (path for path in settings.bundles.iterdir() if path.is_dir())
    data = bytearray((folder / "card.md").read_bytes())
    data[0] ^= 1
    (folder / "card.md").write_bytes(data)
    with TestClient(app_over(settings)) as client:
        decision = get(client, "/decisions", a.DecisionsAnswer).items[0]
        problem = refused(client, f"/decisions/{decision.decision_id}/origin", 409)
        assert problem.detail.startswith("card.md: ")
        # What was recorded can still be read.
        get(client, f"/decisions/{decision.decision_id}", a.DecisionAnswer)
        assert client.get("/health").status_code == 503


def test_a_promoted_bundle_that_has_not_traded_is_ready_and_empty(tmp_path):
    with TestClient(app_over(promoted_workspace(tmp_path / "ws"))) as client:
        assert refused(client, "/signals", 404).detail == "nothing was decided yet"


def test_openapi_describes_every_noun_and_loads_nothing_from_elsewhere(client):
    reply = client.get("/schema/openapi.json")
    document = json.loads(reply.content)
    assert {"/signals", "/plan", "/decisions/{decision_id}/origin"} <= document["paths"].keys()
    schemas = document["components"]["schemas"]
    assert "SignalsAnswer" in schemas
    assert "Problem" in schemas
    assert client.get("/schema").headers["content-type"].startswith("application/vnd.oai.openapi")
    for page in ("/schema/swagger", "/schema/redoc", "/schema/elements", "/schema/rapidoc"):
        assert client.get(page).status_code == 404
    assert "cdn" not in reply.text


def test_every_answer_carries_the_security_headers(client):
    for path in ("/", "/signals", "/nothing", "/metrics"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"
