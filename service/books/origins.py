"""The way back: order, decision, bundle, study, trial, run, notebook cell."""

from dataclasses import dataclass

from runtime.joint.identity import JointLog
from runtime.joint.shares import LEFT
from runtime.journal.records import DecisionRecord
from runtime.registry import CHAMPION
from service.books.accounts import Accounts
from service.books.reading import Reading
from service.books.shelf import LedgerView, Shelf
from service.web import answers as a


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """Walks from what was traded to the cell that decided it."""

    accounts: Accounts
    shelf: Shelf
    joints: JointLog
    ledger: LedgerView | None  # None when this host holds no ledger; the run is then not known

    def of(self, identifier: str) -> a.OriginAnswer:
        """Return the origin of a decision or order, by its id or an unambiguous beginning.

        Raises:
            NotFound: no decision or order, or several, are called so.
            BundleRefused: the bundle that decided does not verify any more.
        """
        reading = self.accounts.holding(identifier)
        decision, order_id = reading.find(identifier)
        members = self._members(reading, decision.record, order_id)
        most = max(members, key=_weight, default=None)
        bundle = self.shelf.bundle(decision.record.bundle if most is None else most.bundle)
        manifest, signature = bundle.manifest, bundle.signature
        opened = self.ledger.opened(manifest.trial) if self.ledger else None
        return a.OriginAnswer(
            order=reading.order(order_id) if order_id else None,
            decision=reading.summary(decision),
            bundle=a.BundleOrigin(
                hash=bundle.hash,
                version=signature.version,
                stage=signature.stage,
                signer=signature.signer,
                signed_at=signature.signed_at,
                git_commit=manifest.git_commit,
                code_hash=manifest.code_hash,
                snapshot_hash=manifest.snapshot.hash,
            ),
            study=manifest.study,
            research_window=manifest.research_window,
            holdout_window=manifest.holdout_window,
            verdicts=tuple(
                a.VerdictLine(
                    gate=verdict.gate,
                    passed=verdict.passed,
                    statistic=verdict.statistic,
                    threshold=verdict.threshold,
                    comparison=verdict.comparison,
                    reason=verdict.reason,
                )
                for verdict in manifest.verdicts
            ),
            trial=a.TrialOrigin(
                key=manifest.trial,
                parameters=dict(manifest.parameters),
                of=manifest.trials,
                run=opened[0].run if opened else None,
                opened_at=opened[1] if opened else None,
            ),
            cell=bundle.cell,
            members=members,
        )

    def _members(
        self, reading: Reading, record: DecisionRecord, order_id: str | None
    ) -> tuple[a.MemberShare, ...]:
        """Return who decided together and what each gets of an order; nobody for one bundle."""
        joint = self.joints.find(record.bundle)
        if joint is None:
            return ()
        parts: dict[str, float] = {}
        order = None if order_id is None else reading.journal.order(order_id)
        found = reading.journal.decision(record.decision_id)
        if order is not None and found is not None and order.order.symbol in found.record.symbols:
            row = found.record.symbols.index(order.order.symbol)
            waiting = {seat.role: found.record.inputs.get(LEFT + seat.role) for seat in joint.seats}
            parts = {
                role: 0.0 if values is None else float(values[row])
                for role, values in waiting.items()
            }
        return tuple(
            a.MemberShare(
                role=seat.role,
                study=seat.study,
                bundle=seat.bundle,
                version=seat.version,
                fraction=seat.fraction,
                units=parts.get(seat.role),
            )
            for seat in joint.seats
        )


def _weight(one: a.MemberShare) -> tuple[float, bool]:
    return abs(one.units or 0.0), one.role == CHAMPION
