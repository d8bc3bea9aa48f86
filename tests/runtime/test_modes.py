"""Paper and money never mix, and a desk that differs from its venue takes no new risk."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from runtime.brokers.paper import PRIMARY, PaperVenue
from runtime.domain import Side
from runtime.engine import Engine, fund
from runtime.errors import AccountMode, PolicyInvalid
from runtime.journal.mode import mode_of
from runtime.ports import Broker
from tests.fakes.graphs import tilt_manifest
from tests.fakes.market import CAPITAL, open_bench
from tests.runtime.engine.sessions import run


@dataclass
class Real:
    """A broker that trades with money, as far as its port tells: it takes no bars from us."""

    venue: PaperVenue

    def __getattr__(self, name: str):
        if name in ("on_bars", "expire_before"):
            raise AttributeError(name)
        return getattr(self.venue, name)


@pytest.fixture
def bench(tmp_path):
    opened = open_bench(tmp_path, manifest=tilt_manifest(schedule="daily"))
    fund(opened.desk.journal, CAPITAL, datetime(2017, 1, 1, tzinfo=UTC))
    yield opened
    opened.close()


def real(bench) -> Broker:
    """A real broker whose name a paper venue of the bench has too."""
    return Real(PaperVenue(bench.folder / "venues" / "real.db", PRIMARY))


def test_an_account_of_real_money_never_takes_a_paper_venues_fills(bench):
    paper = bench.desk.brokers
    bench.changed(brokers=(real(bench),))
    assert mode_of(bench.desk.journal) is False
    assert not bench.desk.simulated
    before = bench.desk.journal.head()
    with pytest.raises(AccountMode, match="trades with real brokers, this desk has paper venues"):
        bench.changed(brokers=(paper[0],))  # of the same name, with fills of its own
    assert bench.desk.journal.head() == before


def test_an_account_of_paper_never_moves_to_real_money_not_even_after_a_restart(bench):
    run(bench, date(2017, 1, 5))
    assert mode_of(bench.desk.journal) is True
    with pytest.raises(AccountMode, match="use another account"):
        bench.changed(brokers=(real(bench),))
    again = open_bench(bench.folder, manifest=tilt_manifest(schedule="daily"))
    with pytest.raises(AccountMode):
        again.changed(brokers=(real(again),))
    again.close()


def test_a_desk_cannot_have_both(bench):
    with pytest.raises(PolicyInvalid, match="paper venues only or real ones only"):
        bench.changed(brokers=(bench.desk.brokers[1], real(bench)))


@pytest.mark.parametrize("explained", [True, False])
def test_a_start_on_an_unexplained_difference_sends_nothing_that_takes_risk(bench, explained):
    run(bench, date(2017, 1, 5), date(2017, 1, 6))
    venue = bench.desk.brokers[0]
    sent: list[str] = []
    if not explained:
        venue._record._database.execute("UPDATE positions SET quantity = quantity + 1")
    submit = venue.submit

    def counted(order):
        sent.append(order.side.value)
        return submit(order)

    venue.submit = counted
    engine = Engine(bench.desk)  # a new start; it asks the venue before it decides anything
    outcome = run(bench, date(2017, 1, 9), engine=engine)
    assert outcome.decision.plan, "there was something to do"
    buys = [line for line in outcome.decision.plan if line.order.side is Side.BUY]
    assert buys
    if explained:
        assert outcome.breaks == ()
        assert not any(line.denied for line in buys)
        assert sent
    else:
        assert {str(one.kind) for one in outcome.breaks} == {"position"}
        assert all(line.denied for line in buys)
        assert Side.BUY.value not in sent
    assert bench.desk.journal.last_session().equity > Decimal(0)
