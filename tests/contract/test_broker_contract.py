"""Every broker adapter keeps the port's promises: an order takes effect once, or not at all."""

from decimal import Decimal
from random import Random

import pytest

pytest.register_assert_rewrite("tests.contract.broker_kit")

from runtime.brokers.paper import ALTERNATE, PRIMARY, PaperVenue  # noqa: E402 - after the rewrite
from tests.contract.broker_kit import START, Adapter, BrokerKit  # noqa: E402
from tests.fakes.misbehaving import MisbehavingBroker  # noqa: E402


class TestPaperVenue(BrokerKit):
    """A venue that fills at the close, with either of the known terms."""

    @pytest.fixture(params=[PRIMARY, ALTERNATE], ids=lambda terms: terms.name)
    def adapter(self, request, tmp_path):
        venue = PaperVenue(tmp_path / "venue.db", request.param)
        yield Adapter(broker=venue, publish=venue.on_bars, new_session=venue.expire_before)
        venue.close()

    def test_it_costs_about_five_basis_points_all_in(self, broker, publish):
        quote = broker.quote("AAA", START)
        cost = (quote.ask - 100) / 100 + quote.fee_rate
        assert cost == pytest.approx(Decimal("0.0005"), abs=Decimal("0.00003"))


class TestReopenedPaperVenue(BrokerKit):
    """A venue whose process ended and came back before every publication."""

    @pytest.fixture
    def adapter(self, tmp_path):
        path = tmp_path / "venue.db"
        venue = PaperVenue(path, PRIMARY)

        def publish(published, at):
            other = PaperVenue(path, PRIMARY)
            made = other.on_bars(published, at)
            other.close()
            venue._bars.update((bar.symbol, bar) for bar in published)
            return made

        yield Adapter(broker=venue, publish=publish, new_session=venue.expire_before)
        venue.close()


class TestWrappedVenue(BrokerKit):
    """The misbehaving broker when it behaves, apart from telling executions twice."""

    @pytest.fixture
    def adapter(self, tmp_path):
        venue = PaperVenue(tmp_path / "venue.db", PRIMARY)
        wrapped = MisbehavingBroker(venue, Random(1), loses=0.0)
        yield Adapter(broker=wrapped, publish=venue.on_bars, new_session=venue.expire_before)
        venue.close()
