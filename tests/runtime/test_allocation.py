"""Several bundles in one account: what is netted, what is shared, and that nothing is lost."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.bundles.contract import SizingPolicy
from runtime.domain import Side
from runtime.errors import OrderInvalid
from runtime.joint.allocation import Asked, join
from runtime.joint.splitting import net_changes, share_fill, split, split_money
from runtime.plan import make_plan

DAY = date(2020, 3, 31)
ROLES = ("arm.a", "arm.b", "arm.c", "champion")
SYMBOLS = ("AAA", "BBB", "CCC")
PRICES = {"AAA": Decimal(30), "BBB": Decimal(7), "CCC": Decimal("250.5")}
changes_of_roles = st.dictionaries(
    st.sampled_from(ROLES), st.integers(-5000, 5000).map(Decimal), min_size=1
)


def test_leftovers_go_to_the_largest_remainders_and_ties_to_the_first_name():
    assert split_money(Decimal("1.00"), dict.fromkeys("cab", Decimal(1))) == {
        "a": Decimal("0.34"),
        "b": Decimal("0.33"),
        "c": Decimal("0.33"),
    }
    assert split(10, {"a": 5, "b": 3, "c": 1}) == {"a": 6, "b": 3, "c": 1}
    assert split(-10, {"a": 5, "b": 3, "c": 1}) == {"a": -6, "b": -3, "c": -1}
    assert split(1000, {"a": 1, "b": 2}, grain=100) == {"a": 300, "b": 700}


def test_what_nobody_can_take_is_refused():
    for total, weights, grain in ((1, {}, 1), (1, {"a": 0}, 1), (5, {"a": 1}, 2)):
        with pytest.raises(OrderInvalid, match="cannot be shared"):
            split(total, weights, grain=grain)
    with pytest.raises(OrderInvalid, match="whole cents"):
        split_money(Decimal("0.001"), {"a": Decimal(1)})


@given(
    st.integers(-(10**12), 10**12),
    st.dictionaries(st.sampled_from(ROLES), st.integers(1, 10**9), min_size=1),
    st.randoms(use_true_random=False),
)
def test_parts_add_up_are_fair_to_a_unit_and_do_not_depend_on_the_order(total, weights, random):
    parts = split(total, weights)
    assert sum(parts.values()) == total
    whole = sum(weights.values())
    for name, weight in weights.items():
        assert abs(parts[name] * whole - total * weight) < whole  # less than one unit away
    listed = list(weights.items())
    random.shuffle(listed)
    assert split(total, dict(listed)) == parts


def test_opposing_wishes_cross_inside_and_only_the_rest_is_ordered():
    found = net_changes({"champion": Decimal(120), "arm.b": Decimal(-40)})
    assert found.net == 80
    assert found.crossed == {"arm.b": -40, "champion": 40}
    assert found.left == {"champion": 80}
    even = net_changes({"champion": Decimal(40), "arm.b": Decimal(-40)})
    assert (even.net, even.left) == (0, {})
    three = net_changes({"arm.a": Decimal(300), "arm.b": Decimal(-200), "arm.c": Decimal(100)})
    # 200 over 300 and 100, in hundreds: one and a half and a half; the tie goes to the first name
    assert three.crossed == {"arm.a": 200, "arm.b": -200}
    assert three.left == {"arm.a": 100, "arm.c": 100}


@given(changes_of_roles)
def test_crosses_cancel_shares_make_the_order_and_everyone_gets_what_it_asked_for(changes):
    found = net_changes(changes)
    assert found.net == sum(changes.values())
    assert sum(found.crossed.values()) == 0
    assert sum(found.left.values()) == found.net
    sign = 1 if found.net >= 0 else -1
    for role, asked in changes.items():
        crossed, left = found.crossed.get(role, 0), found.left.get(role, 0)
        assert crossed + left == asked
        assert left * sign >= 0  # nobody waits for the other side
        assert abs(crossed) <= abs(asked)
        assert crossed * asked >= 0  # nor trades inside against its own wish
    # the smallest possible order: nothing that could be offset is sent
    assert abs(found.net) == abs(sum(changes.values()))


@given(
    st.dictionaries(st.sampled_from(ROLES), st.integers(1, 5000), min_size=1),
    st.sampled_from([1, -1]),
    st.randoms(use_true_random=False),
)
def test_however_it_fills_everyone_ends_with_its_share(wanted, sign, random: Random):
    left = {role: Decimal(sign * count) for role, count in wanted.items()}
    got = dict.fromkeys(left, Decimal(0))
    waiting = dict(left)
    rest = sum(wanted.values())
    while rest:
        size = random.randint(1, rest)
        rest -= size
        shared = share_fill(Decimal(sign * size), waiting)
        assert sum(shared.values()) == sign * size
        for role, part in shared.items():
            assert part * sign > 0
            got[role] += part
            waiting[role] -= part
            assert waiting[role] * sign >= 0
    assert got == left


def test_odd_lots_are_shared_exactly_and_round_lots_stay_round():
    assert share_fill(Decimal("0.5"), {"a": Decimal("3.25"), "b": Decimal("3.25")}) == {
        "a": Decimal("0.25"),
        "b": Decimal("0.25"),
    }
    assert share_fill(Decimal(300), {"a": Decimal(200), "b": Decimal(300)}) == {
        "a": Decimal(100),
        "b": Decimal(200),
    }
    with pytest.raises(OrderInvalid, match="only 5 is waited for"):
        share_fill(Decimal(6), {"a": Decimal(5)})


def asked(role, weights, held=None, *, equity=100_000, minimum="500.00", collar="0.10"):
    sizing = SizingPolicy(minimum_notional=minimum, collar=collar)
    plan = make_plan(
        np.array(weights),
        SYMBOLS,
        prices=PRICES,
        positions=held or {},
        equity=Decimal(equity),
        sizing=sizing,
        day=DAY,
    )
    found = Asked(
        role=role,
        study=role.rpartition(".")[2],
        orders=plan.orders,
        left_out=plan.left_out,
        minimum=Decimal(minimum),
    )
    return found, plan


def joined(*plans, **options):
    return join(plans, SYMBOLS, equity=Decimal(200_000), **options)


@given(
    st.lists(st.floats(-0.33, 0.33), min_size=3, max_size=3),
    st.lists(st.integers(-1000, 1000), min_size=3, max_size=3),
)
def test_a_bundle_alone_plans_exactly_as_it_does_without_the_others(weights, held):
    alone, plan = asked("champion", weights, dict(zip(SYMBOLS, map(Decimal, held), strict=True)))
    found = joined(alone, alone=True)
    by_side = sorted(plan.orders, key=lambda order: order.side is Side.BUY)
    assert [one.order for one in found.orders] == by_side == list(plan.orders)
    assert found.left_out == plan.left_out
    assert found.crossed == {}
    for one in found.orders:
        assert one.left == {"champion": one.order.quantity * one.order.side.sign}


@given(
    st.lists(st.lists(st.floats(-0.3, 0.3), min_size=3, max_size=3), min_size=2, max_size=4),
    st.one_of(st.none(), st.decimals("0.01", "1", places=3)),
    st.randoms(use_true_random=False),
)
def test_orders_and_crosses_together_are_what_was_asked_for(weights, turnover, random):
    plans = [asked(role, one)[0] for role, one in zip(ROLES, weights, strict=False)]
    found = joined(*plans, max_turnover=turnover)
    shuffled = list(plans)
    random.shuffle(shuffled)
    assert joined(*shuffled, max_turnover=turnover) == found
    traded = sum(one.order.notional for one in found.orders)
    if turnover is not None:
        assert traded <= turnover * 200_000
    left_out = {one.symbol for one in found.left_out}
    for symbol in SYMBOLS:
        wanted = {
            plan.role: order.quantity * order.side.sign
            for plan in plans
            for order in plan.orders
            if order.symbol == symbol
        }
        crossed = found.crossed.get(symbol, {})
        sent = [one for one in found.orders if one.order.symbol == symbol]
        assert len(sent) <= 1
        assert sum(crossed.values(), Decimal(0)) == 0
        for one in sent:
            change = one.order.quantity * one.order.side.sign
            assert sum(one.left.values()) == change
            if turnover is None:
                for role, change in wanted.items():
                    assert crossed.get(role, 0) + one.left.get(role, 0) == change
        if turnover is None and not sent and sum(wanted.values()):
            assert symbol in left_out


def test_every_order_says_which_bundles_asked_for_what():
    """Champion wants 49 % of 100,000 USD in AAA; arm.b sells the 500 it holds."""
    plans = (
        asked("champion", [0.5, 0.0, 0.0])[0],
        asked("arm.b", [0.0, 0.0, 0.0], {"AAA": Decimal(500)})[0],
    )
    (one,) = joined(*plans).orders
    assert (one.order.side, one.order.quantity) == (Side.BUY, 1133)
    assert one.order.reason == (
        "arm.b (b) asks -500 from 15.00% to 0.00% of equity, "
        "champion (champion) asks +1633 from 0.00% to 49.00% of equity; "
        "500 cross inside, net +1133"
    )
    assert joined(*plans).crossed == {"AAA": {"arm.b": Decimal(-500), "champion": Decimal(500)}}


def test_the_most_careful_price_holds_for_all():
    plans = (
        asked("champion", [0.5, 0.0, 0.0], collar="0.10")[0],
        asked("arm.b", [0.5, 0.0, 0.0], collar="0.02")[0],
    )
    (one,) = joined(*plans).orders
    assert one.order.limit_price == Decimal("30.60")
    assert one.left == {"champion": 1633, "arm.b": 1633}


def test_a_net_change_that_is_too_small_is_left_out_unless_the_account_leaves_the_symbol():
    plans = (
        asked("champion", [0.5, 0.0, 0.0])[0],  # +1633
        asked("arm.b", [0.0, 0.0, 0.0], {"AAA": Decimal(1623)})[0],
    )
    found = joined(*plans)
    assert found.orders == ()
    assert "net 300.00 USD is below 500.00 USD" in found.left_out[0].reason
    assert found.crossed["AAA"] == {"arm.b": -1623, "champion": 1623}
    assert len(joined(*plans, held={"AAA": Decimal(-10)}).orders) == 1


def test_a_turnover_limit_scales_all_orders_alike_and_says_so():
    plans = (
        asked("champion", [0.4, 0.2, 0.0])[0],
        asked("arm.b", [0.4, 0.0, 0.0])[0],
    )
    free, tight = joined(*plans), joined(*plans, max_turnover=Decimal("0.245"))
    ratio = Decimal("0.245") * 200_000 / sum(one.order.notional for one in free.orders)
    for before, after in zip(free.orders, tight.orders, strict=True):
        assert 0 <= before.order.quantity * ratio - after.order.quantity < 1
        assert sum(after.left.values()) == after.order.quantity
        assert "by the turnover limit of 24.5% of equity" in after.order.reason
