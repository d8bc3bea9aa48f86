"""Every broker adapter keeps the port's promises: an order takes effect once, or not at all."""

from decimal import Decimal
from itertools import count
from random import Random

import pytest

pytest.register_assert_rewrite("tests.contract.broker_kit")

from runtime.brokers.paper import ALTERNATE, PRIMARY, PaperVenue  # noqa: E402 - after the rewrite
from runtime.brokers.remote import RemoteVenue  # noqa: E402
from runtime.brokers.server import Floor, VenueServer  # noqa: E402
from runtime.brokers.wire import address_of  # noqa: E402
from tests.contract.broker_kit import START, Adapter, BrokerKit  # noqa: E402
from tests.fakes.misbehaving import MisbehavingBroker  # noqa: E402

TOKEN = "a token of the tests"


class TestPaperVenue(BrokerKit):
    """A venue that fills at the close."""

    terms = PRIMARY

    @pytest.fixture
    def adapter(self, tmp_path):
        venue = PaperVenue(tmp_path / "venue.db", self.terms)
        yield Adapter(broker=venue, publish=venue.on_bars, new_session=venue.expire_before)
        venue.close()

    def test_it_costs_about_five_basis_points_all_in(self, broker, publish):
        quote = broker.quote("AAA", START)
        cost = (quote.ask - 100) / 100 + quote.fee_rate
        assert cost == pytest.approx(Decimal("0.0005"), abs=Decimal("0.00003"))


class TestPaperVenueOfOtherTerms(TestPaperVenue):
    """The same venue, wider and cheaper: what an engine does with answers knows no terms."""

    terms = ALTERNATE
    test_an_engine_behind_any_mix_of_faults_keeps_the_venues_own_books = None


class TestVenueOfItsOwn(BrokerKit):
    """A venue behind a socket whose process ends and comes back from its record, time and again."""

    @pytest.fixture
    def adapter(self, tmp_path):
        address = address_of(f"unix://{tmp_path}/venue.sock")
        floor = Floor(folder=tmp_path / "records", terms=(PRIMARY, ALTERNATE))
        serving = [VenueServer(floor, address, TOKEN)]
        serving[0].start()
        publications = count()
        venue = RemoteVenue(address=address, token=TOKEN, account="paper", name="primary")

        def publish(published, at):
            if next(publications) % 3 == 0:
                serving[0].stop()
                serving[0] = VenueServer(floor, address, TOKEN)
                serving[0].start()
            return venue.on_bars(published, at)

        yield Adapter(broker=venue, publish=publish, new_session=venue.expire_before)
        venue.close()
        serving[0].stop()
        floor.prove()


class TestWrappedVenue(BrokerKit):
    """The misbehaving broker when it behaves, apart from telling executions twice.

    An engine behind it is part of the kit: there every adapter is wrapped so.
    """

    test_an_engine_behind_any_mix_of_faults_keeps_the_venues_own_books = None

    @pytest.fixture
    def adapter(self, tmp_path):
        venue = PaperVenue(tmp_path / "venue.db", PRIMARY)
        wrapped = MisbehavingBroker(venue, Random(1), loses=0.0)
        yield Adapter(broker=wrapped, publish=venue.on_bars, new_session=venue.expire_before)
        venue.close()
