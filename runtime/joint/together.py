"""One decision of several bundles: each proposes on its own books, the account orders once.

Steps, numbered where they happen:
 1. each member's own books at this close;
 2. each member that is due proposes, all on the same reads; one that cannot says why and waits;
 3. each plans alone; what they want is netted into one plan;
 4. eight checks and venues, as for a single bundle;
 5. one record: everything the graphs saw, every member's answer, and who waits for how much.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from featurestore.errors import PlatformError
from runtime.bundles.contract import SizingPolicy
from runtime.bundles.inference import Decided
from runtime.bundles.inputs import Array, CurrentWeights, SharedReads
from runtime.desk import Desk
from runtime.domain import Order
from runtime.errors import DecisionInvalid
from runtime.guardrails import Context, FeatureAge
from runtime.history import History
from runtime.joint.allocation import Asked, JointPlan, join
from runtime.joint.joint_graph import KEPT, add, kept_as
from runtime.joint.joint_graph import answers as answers_of
from runtime.joint.member_books import MemberBook
from runtime.joint.members import Member
from runtime.joint.proposal import Proposal, propose
from runtime.joint.shares import CROSSED, LEFT, exact
from runtime.journal.exact import CENT, mark_units, units
from runtime.journal.records import DecisionRecord, OrderRecord
from runtime.plan import make_plan, rows_of
from runtime.registry import RESERVE
from runtime.tick import Moment, Wanted, decided_by

ZERO = Decimal(0)
_EXACT = 8  # exponent of the first digit, up to which a float64 carries every whole number of 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What one member came to."""

    role: str
    note: str
    proposal: Proposal | None = None  # None if it was not due, is stopped, or could not decide
    asked: Asked | None = None
    equity: Decimal = ZERO  # USD that it decided over; nothing of who made no proposal


def decide_together(
    desk: Desk, moment: Moment, history: History
) -> tuple[DecisionRecord, tuple[Order, ...]]:
    """Decide once for all members; what cannot be decided at all becomes a refusal on record."""
    return decided_by(_all, desk, moment, history)


def _all(desk: Desk, moment: Moment, standing: Sequence[OrderRecord]) -> Wanted:
    """Return what all members want together."""
    shares, joint = desk.shares, desk.joint
    if shares is None or joint is None:
        raise DecisionInvalid("this desk has one bundle; decide with runtime.tick.decide")

    # 1. each member's own books
    books = shares.follow().at(joint, moment.marks, moment.positions, moment.book.cash)
    coming = shares.working(_leaves(standing))
    symbols = _symbols(desk, moment.positions)

    # 2. each member's answer
    answers = _answers(desk, moment, books, coming)

    # 3. one plan of all
    plan = join(
        [one.asked for one in answers if one.asked is not None],
        symbols,
        equity=moment.equity,
        lot=desk.bundle.manifest.sizing.lot,
        max_turnover=None if joint.max_turnover is None else Decimal(joint.max_turnover),
        held=moment.positions,
        alone=len(joint.seats) == 1 and RESERVE not in books,
    )
    weights, parts = _wanted(answers, symbols, books, moment)
    snapshots = sorted({member.bundle.manifest.snapshot.hash for member in desk.members})
    return Wanted(
        symbols=symbols,
        current=moment.book.weights(moment.marks, symbols),
        decided=Decided(score=weights, weight=weights),
        features=_features(answers),
        orders=[one.order for one in plan.orders],
        snapshot=snapshots[0]
        if len(snapshots) == 1
        else hashlib.sha256("".join(snapshots).encode()).hexdigest(),
        kept=lambda context: _kept(desk, context, answers, plan, symbols, parts),
    )


def _answers(
    desk: Desk,
    moment: Moment,
    books: Mapping[str, MemberBook],
    coming: Mapping[str, Mapping[str, Decimal]],
) -> list[_Answer]:
    """Return what each member wants, all on the same reads, and whoever only sells."""
    reads = SharedReads(desk.reader, moment.at)
    answers = [
        _answer(desk, moment, reads, member, books[member.role], coming.get(member.role, {}))
        for member in desk.members
    ]
    if RESERVE in books:
        sizing = desk.bundle.manifest.sizing
        left_over = coming.get(RESERVE, {})
        answers.append(_sale(moment, RESERVE, RESERVE, books[RESERVE], left_over, sizing))
    return answers


def _kept(
    desk: Desk,
    context: Context,
    answers: Sequence[_Answer],
    plan: JointPlan,
    symbols: tuple[str, ...],
    parts: Mapping[str, Array],
) -> tuple[Mapping[str, Array], tuple[str, ...]]:
    """Return what the record keeps; nothing crosses in a symbol that may not be traded."""
    stops = desk.stops_of(context.killed)
    approved = context.approved_bundle == desk.bundle.hash
    crossed = {
        symbol: parts
        for symbol, parts in plan.crossed.items()
        if approved and stops.reason(symbol) is None
    }
    inputs = {**_inputs(answers, symbols), **parts, **_units(CROSSED, symbols, crossed)}
    inputs |= _units(LEFT, symbols, {one.order.symbol: one.left for one in plan.orders})
    notes = (
        *(answer.note for answer in answers),
        *(f"{symbol}: {_inside(one)} cross inside" for symbol, one in crossed.items()),
        *(f"{left.symbol} left out: {left.reason}" for left in plan.left_out),
    )
    return inputs, notes


def _symbols(desk: Desk, positions: Mapping[str, Decimal]) -> tuple[str, ...]:
    """Return the universe of all members, and what is held beside it."""
    universe = desk.bundle.manifest.symbols
    known = rows_of(universe)
    beside = tuple([symbol for symbol in positions if symbol not in known])
    return (*universe, *beside) if beside else universe


def _leaves(records: Sequence[OrderRecord]) -> dict[tuple[str, str], Decimal]:
    """Return (tick, symbol) -> signed units that may still execute."""
    found: dict[tuple[str, str], Decimal] = {}
    for record in records:
        place = record.order.tick, record.order.symbol
        found[place] = found.get(place, ZERO) + record.leaves * record.order.side.sign
    return {place: count for place, count in found.items() if count}


def _answer(
    desk: Desk,
    moment: Moment,
    reads: SharedReads,
    member: Member,
    book: MemberBook,
    coming: Mapping[str, Decimal],
) -> _Answer:
    """Return what one member wants; nothing that goes wrong with it touches the others."""
    study, role = member.bundle.manifest.study, member.role
    if member.stopped:
        return _sale(moment, role, study, book, coming, member.bundle.manifest.sizing)
    if not desk.member_due(member, moment.session.day):
        return _Answer(role=role, note=f"{role}: {study} is not due")
    try:
        proposal = propose(
            member.bundle,
            reads,
            at=moment.at,
            current=_current(book, moment.marks, member.bundle.manifest.symbols),
            freshness=desk.freshness,
        )
        equity = book.equity(moment.marks)
        asked = _planned(moment, member, book, coming, equity, proposal.decided.weight)
    except PlatformError as error:
        return _Answer(role=role, note=f"{role}: {study} wants nothing new: {error}")
    note = f"{role}: {study} {member.bundle.hash[:12]} decides over {equity:,.2f} USD"
    return _Answer(role=role, note=note, proposal=proposal, asked=asked, equity=equity)


def _current(book: MemberBook, marks: Mapping[str, Decimal], symbols: Sequence[str]) -> Array:
    """Return value over equity per symbol, as `Book.weights` does for the account."""
    values = {
        name: units(count, name) * mark_units(marks[name], name)
        for name, count in book.units.items()
    }
    equity = int(book.cash.scaleb(2)) * CENT + sum(values.values())
    if equity <= 0:
        raise DecisionInvalid(f"its share of the account is worth {book.equity(marks):.2f} USD")
    rows, weights = rows_of(tuple(symbols)), np.zeros(len(symbols))
    for name, value in values.items():
        if name in rows:
            weights[rows[name]] = value / equity
    return weights


def _planned(
    moment: Moment,
    member: Member,
    book: MemberBook,
    coming: Mapping[str, Decimal],
    equity: Decimal,
    weight: Array,
) -> Asked:
    """Return a member's own plan; what it holds outside its universe goes."""
    manifest = member.bundle.manifest
    symbols, known = manifest.symbols, rows_of(manifest.symbols)
    extra = [symbol for symbol in book.units if symbol not in known]
    if extra:
        symbols = (*symbols, *sorted(extra))
        weight = np.concatenate([weight, np.zeros(len(extra))])
    plan = make_plan(
        weight,
        symbols,
        prices=moment.marks,
        positions=_with(book, coming),
        equity=equity,
        sizing=manifest.sizing,
        day=moment.session.day,
    )
    return Asked(
        role=member.role,
        study=manifest.study,
        orders=plan.orders,
        left_out=plan.left_out,
        minimum=Decimal(manifest.sizing.minimum_notional),
    )


def _with(book: MemberBook, coming: Mapping[str, Decimal]) -> Mapping[str, Decimal]:
    if not coming:
        return book.units
    standing = dict(book.units)
    for symbol, count in coming.items():
        standing[symbol] = standing.get(symbol, ZERO) + count
    return standing


def _sale(
    moment: Moment,
    role: str,
    study: str,
    book: MemberBook,
    coming: Mapping[str, Decimal],
    sizing: SizingPolicy,
) -> _Answer:
    """Return the plan of somebody who only sells what is there."""
    standing = {name: count for name, count in sorted(_with(book, coming).items()) if count}
    if not standing:
        return _Answer(role=role, note=f"{role}: {study} holds nothing")
    plan = make_plan(
        np.zeros(len(standing)),
        tuple(standing),
        prices=moment.marks,
        positions=standing,
        equity=moment.equity,
        sizing=sizing.at_market,
        day=moment.session.day,
    )
    note = f"{role}: {study} sells what it holds"
    return _Answer(role=role, note=note, asked=Asked(role=role, study=study, orders=plan.orders))


def _wanted(
    answers: Sequence[_Answer],
    symbols: tuple[str, ...],
    books: Mapping[str, MemberBook],
    moment: Moment,
) -> tuple[Array, dict[str, Array]]:
    """Return what all want together, fractions of the account's equity before sizing.

    Whoever did not decide goes on holding what it holds; with it come the arrays that let
    `runtime.joint.joint_graph` come to the same bits again.
    """
    marks, equity = moment.marks, float(moment.equity)
    rows = rows_of(tuple(symbols))
    kept, parts = np.zeros(len(symbols)), dict[str, Array]()
    for answer in answers:
        if answer.proposal is None and answer.asked is None:
            for symbol, count in sorted(books[answer.role].units.items()):
                kept[rows[symbol]] += float(count * marks[symbol]) / equity
    parts[KEPT] = kept.copy()
    for answer in sorted(answers, key=lambda one: one.role):
        if answer.proposal is None:
            continue
        share = float(answer.equity) / equity
        parts[f"share {answer.role}"] = np.array([share])
        names, places = answer.proposal.bundle.manifest.symbols, None
        if names != symbols:
            places = np.array([rows[name] for name in names], dtype=np.float64)
            parts[f"rows {answer.role}"] = places
        add(kept, answer.proposal.decided.weight, share, places)
    return kept, parts


def _features(answers: Sequence[_Answer]) -> dict[str, FeatureAge]:
    """Return the age of everything read; of two looks at one feature the older one counts."""
    found: dict[str, FeatureAge] = {}
    for answer in answers:
        for name, age in answer.proposal.features.items() if answer.proposal else ():
            known = found.setdefault(name, age)
            if age.known_at is None or (known.known_at and age.known_at < known.known_at):
                found[name] = age
    return found


def _inside(parts: Mapping[str, Decimal]) -> str:
    return ", ".join(f"{role} {part:+f}" for role, part in parts.items())


def _inputs(answers: Sequence[_Answer], symbols: Sequence[str]) -> dict[str, Array]:
    """Return what the graphs saw and said; what several saw is kept once."""
    found: dict[str, Array] = {}
    for answer in answers:
        if answer.proposal is None:
            continue
        proposal, role = answer.proposal, answer.role
        manifest = proposal.bundle.manifest
        everybody = manifest.symbols == tuple(symbols)
        for name, source in proposal.bundle.inputs.items():
            kept = kept_as(source, role)
            if not (everybody or isinstance(source, CurrentWeights)):
                kept = f"{kept} for {role}"
            found.setdefault(kept, proposal.inputs[name])
        found.update({f"{name} {role}": said for name, said in answers_of(proposal.decided)})
    return found


def _units(
    prefix: str, symbols: Sequence[str], parts: Mapping[str, Mapping[str, Decimal]]
) -> dict[str, Array]:
    """Return signed units per role and symbol as arrays, exactly; DecisionInvalid if they are not.

    A float64 carries any decimal of at most 15 digits there and back, so any whole number of 1e-6
    below a thousand million.
    """
    rows = rows_of(tuple(symbols))
    found: dict[str, Array] = {}
    for symbol, by_role in parts.items():
        row = rows[symbol]
        for role, count in by_role.items():
            value = float(count)
            if count.adjusted() > _EXACT and count != value and exact(value) != count:
                raise DecisionInvalid(f"{symbol}: {count} units are too many digits to be kept")
            name = prefix + role
            if name not in found:
                found[name] = np.zeros(len(symbols))
            found[name][row] = value
    return found
