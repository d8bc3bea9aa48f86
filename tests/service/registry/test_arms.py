"""Capital that is shared is an A/B test: its terms, when it is decided, what follows from it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import pi

import pytest

from runtime.joint.shares import MemberDay
from runtime.registry import Promoted
from service.operator.arms import arms_of, standing_of
from tests.service.registry.seats import FACTS, add_bundle, facts, registry_of


def seated(settings, role: str, bundle: str = "") -> None:
    """Put a bundle of a study named after the seat into it, without proving or signing it."""
    promoted = Promoted(study=role, bundle=bundle or role[-1] * 64, version=1, stage="staging")
    registry_of(settings).activate(
        promoted, role=role, at=datetime(2017, 6, 1, tzinfo=UTC), **FACTS
    )


def test_capital_that_is_shared_is_an_a_b_test_with_terms_fixed_before(sluice, settings):
    for role in ("arm.b", "arm.c"):
        seated(settings, role)
    shared = ("allocate", "champion=0.7", "arm.b=0.2")
    assert "there is nothing to compare" in sluice(
        "allocate", "champion=0.7", "--alpha", "0.1", *facts(), status=1
    )
    assert "no arms are judged" in sluice("arms")
    sluice(*shared, *facts(), "--alpha", "0.01")
    sluice("allocate", "champion=0.5", "arm.b=0.5", *facts())  # goes on, with the same alpha
    assert "judged against champion at alpha 0.01, bound 0.02" in sluice("history")
    first = json.loads(sluice("arms", "--json"))
    assert first["since"] < registry_of(settings).allocations()[-1].at
    assert [one["needed"] for one in first["arms"]] == [pytest.approx(200.0 * pi**2 / 6)]
    assert "arm.b undecided after 0 sessions, evidence 1.00 of 329" in sluice("arms")
    sluice("allocate", "arm.c=0.5", "arm.b=0.5", *facts(), "--control", "arm.c")
    assert [one["control_role"] for one in json.loads(sluice("arms", "--json"))["arms"]] == [
        "arm.c"
    ]
    sluice("allocate", *facts())
    assert "say which of arm.b, arm.c is the control" in sluice(
        "allocate", "arm.c=0.5", "arm.b=0.5", *facts(), status=1
    )
    sluice(*shared, *facts(), "--alpha", "0.01")
    assert json.loads(sluice("arms", "--json"))["arms"][0]["asked"] == 2
    assert "; begun 2 times" in sluice("arms")


@pytest.mark.parametrize("anew", [("--alpha", "0.0501"), ("--bound", "0.021"), ("elsewhere",)])
def test_a_test_begun_anew_on_other_terms_or_in_another_seat_needs_more(sluice, settings, anew):
    seated(settings, "arm.b")
    sluice("allocate", "champion=0.5", "arm.b=0.5", *facts())
    if anew == ("elsewhere",):
        seated(settings, "arm.x", "b" * 64)
        sluice("allocate", "champion=0.5", "arm.x=0.5", *facts())
    else:
        sluice("allocate", "champion=0.5", "arm.b=0.5", *facts(), *anew)
    (found,) = json.loads(sluice("arms", "--json"))["arms"]
    assert found["asked"] == 2
    assert found["needed"] == pytest.approx(2 / found["alpha"] * pi**2 / 6 * 4)


def earned(registry, edge: float, count: int = 120) -> list[MemberDay]:
    """Return sessions after today on which arm.b makes `edge` more than the champion."""
    days = []
    for number in range(count):
        for role in ("arm.b", "champion"):
            noise = 0.0 if role == "champion" else edge + (0.002 if number % 2 else -0.002)
            days.append(
                MemberDay(
                    day=datetime.now(UTC).date() + timedelta(days=number + 1),
                    role=role,
                    bundle=registry.active(role).bundle,
                    equity=Decimal(100),
                    cash=Decimal(0),
                    given=Decimal(100),
                    fees=Decimal(0),
                    profit=Decimal(0),
                    returned=0.001 + noise,
                )
            )
    return days


def test_an_arm_is_called_better_or_worse_once_the_evidence_suffices(sluice, settings):
    seated(settings, "arm.b")
    sluice("allocate", "champion=0.5", "arm.b=0.5", *facts())
    registry = registry_of(settings)
    for edge, better in ((0.002, "arm.b"), (-0.002, "champion")):
        (found,) = arms_of("live", registry, earned(registry, edge)).arms
        assert (found.decision, found.days, found.needed) == (
            better,
            118,
            pytest.approx(40.0 * pi**2 / 6),
        )
        assert found.words.startswith(f"{better} is better, decided on {found.decided_on}")
        assert found.first < found.decided_on < found.last
        assert found.mean == pytest.approx(edge)
        assert found.low < edge < found.high
        assert (found.low > 0) == (edge > 0)


@pytest.mark.parametrize("then", ["running", "ended", "retired", "emptied", "control"])
def test_an_arm_becomes_champion_only_if_the_test_is_for_it_or_with_a_reason(
    sluice, settings, then
):
    bundle = add_bundle(settings, study="other")
    seated(settings, "arm.b", bundle)
    sluice("allocate", "champion=0.5", "arm.b=0.5", *facts())
    if then == "control":
        sluice("allocate", "champion=0.5", "arm.b=0.5", *facts(), "--control", "arm.b")
    if then in ("ended", "retired"):
        sluice("allocate", "champion=1", *facts())
    if then == "emptied":
        sluice("allocate", *facts())
        sluice("retire", "--role", "champion", *facts())
    if then == "retired":
        sluice("retire", "--role", "arm.b", *facts())
    refused = sluice("promote", bundle[:10], *facts(), status=1)
    assert "arm.b is not shown to be better: undecided after 0 sessions" in refused
    sluice("promote", bundle[:10], *facts(), "--despite", "the vendor closes")
    assert "promoted despite that: the vendor closes" in registry_of(settings).active().why


def test_a_test_that_was_ended_still_says_what_it_had_found(sluice, settings):
    seated(settings, "arm.b")
    registry = registry_of(settings)
    assert standing_of("b" * 64, registry, ()) is None
    sluice("allocate", "champion=0.5", "arm.b=0.5", *facts())
    days = {edge: earned(registry, edge) for edge in (0.002, -0.002)}
    sluice("allocate", "champion=1", *facts())
    for edge, better in ((0.002, True), (-0.002, False)):
        shown, role, words = standing_of("b" * 64, registry, days[edge])
        assert (shown, role) == (better, "arm.b")
        assert words.startswith("arm.b is better" if better else "champion is better")
    assert standing_of(registry.active().bundle, registry, ()) is None


def test_an_arm_that_was_not_compared_with_the_champion_is_not_shown_to_beat_it(sluice, settings):
    for role in ("arm.b", "arm.c"):
        seated(settings, role)
    shared = ("allocate", "champion=0.4", "arm.b=0.3", "arm.c=0.3")
    sluice(*shared, *facts(), "--control", "arm.c")
    registry = registry_of(settings)
    assert standing_of("b" * 64, registry, earned(registry, 0.002)) == (
        False,
        "arm.b",
        "it was compared with arm.c, not with the champion",
    )
