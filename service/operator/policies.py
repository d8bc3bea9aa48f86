"""The policy of this workspace: its file, its chained record, and what an operator does to it."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from runtime.clock import Clock, WallClock
from runtime.errors import PolicyInvalid
from runtime.policies.diff import diff
from runtime.policies.log import Installed, PolicyLog, Reloaded
from runtime.policies.overriding import Override
from runtime.policies.policy import Policy, parse_policy, policy_text
from service.databases import open_runtime
from service.faults import NotFound
from service.operator.control import (
    DiffAnswer,
    OverrideAnswer,
    OverrideRequest,
    PolicyAnswer,
    PolicyEntry,
    ReviewAnswer,
)
from service.records import anchor
from service.settings import Settings


@dataclass(slots=True)
class Policies:
    """One process's view of the policy; what is in force is what the record says."""

    log: PolicyLog
    source: Path | None  # None = the packaged default
    clock: Clock
    refused: str = ""  # why the file was not taken when it was last read

    def start(self, by: str = "start") -> Policy:
        """Read the file as a process starts, and return the policy in force.

        Raises:
            PolicyInvalid: the file is invalid and no policy was ever in force.
        """
        self.reload(by=by, why="the process started")
        return self.log.policy_at(self.clock.now())

    def begin(self) -> None:
        """Read the file if none ever was; a service starts with an invalid one, and says so."""
        if self.log.active() is None:
            try:
                self.reload(by="start", why="the first process of this workspace")
            except PolicyInvalid as error:
                self.refused = str(error)

    def reload(self, *, by: str, why: str) -> Reloaded:
        """Read the file again; an invalid one leaves everything as it is and says why."""
        try:
            text = policy_text(self.source)
        except PolicyInvalid as error:
            active = self.log.active()
            if active is None:
                raise
            done = Reloaded(active=active, changed=False, refused=str(error))
        else:
            done = self.log.reload(text, by=by, why=why, at=self.clock.now(), source=self._name)
        self.refused = done.refused
        return done

    def rollback(self, number: int, *, by: str, why: str) -> Installed:
        """Bring an earlier policy back into force."""
        return self.log.rollback(number, by=by, why=why, at=self.clock.now())

    def review(self, number: int, *, by: str, why: str) -> PolicyAnswer:
        """Put on record that a person has looked at every limit in force."""
        self.log.review(number, by=by, why=why, at=self.clock.now())
        return self.show()

    def overdue(self) -> str:
        """Say in words that the limits were not reviewed in time; "" if they were."""
        due = self.log.review_due()
        if due is None or self.clock.now() <= due:
            return ""
        last = next(reversed(self.log.reviews()), None)
        told = f"last by {last.by} on {last.at:%Y-%m-%d}" if last else "never"
        return (
            f"the limits are to be reviewed every year: since {due:%Y-%m-%d} that is overdue, it "
            f"was done {told}; look at sluice policy show --text, then sluice policy review NUMBER"
        )

    def ask(self, asked: OverrideRequest) -> OverrideAnswer:
        """Ask for an override."""
        return self._override(
            self.log.ask(
                asked.limit,
                asked.value,
                seconds=asked.seconds,
                by=asked.by,
                why=asked.why,
                at=self.clock.now(),
            )
        )

    def approve(self, override: str, *, by: str) -> OverrideAnswer:
        """Approve an override as a second person."""
        return self._override(self.log.approve(override, by=by, at=self.clock.now()))

    def revoke(self, override: str, *, by: str) -> OverrideAnswer:
        """End an override before its time."""
        return self._override(self.log.revoke(override, by=by, at=self.clock.now()))

    @property
    def _name(self) -> str:
        return "policy.toml" if self.source is None else str(self.source)

    def diff(self, text: str | None = None, source: str = "policy") -> DiffAnswer:
        """Compare a policy, or the file as it is now, with the one in force; changes nothing.

        Raises:
            PolicyInvalid: the text is no policy.
        """
        if text is None:
            text, source = policy_text(self.source), self._name
        asked = parse_policy(text, source)
        active = self.log.active()
        if active is None:
            raise NotFound("no policy is in force yet", "read the file with sluice policy reload")
        before = parse_policy(active.text)
        changes = diff(before, asked)
        return DiffAnswer(
            before=before.hash,
            after=asked.hash,
            looser=sum(change.effect == "looser" for change in changes),
            changes=changes,
        )

    def show(self, *, changed: bool = False) -> PolicyAnswer:
        """Return the policy in force, its history and its overrides."""
        active, at = self.log.active(), self.clock.now()
        if active is None:
            reason = f": {self.refused}" if self.refused else ""
            raise NotFound(
                f"no policy is in force yet{reason}", "read the file with sluice policy reload"
            )
        return PolicyAnswer(
            active=_entry(active),
            text=active.text,
            in_force=self.log.policy_at(at).hash,
            file="packaged default" if self.source is None else str(self.source),
            refused=self.refused,
            changed=changed,
            overrides=tuple(self._override(one) for one in self.log.overrides() if at < one.ends),
            review=self._review(),
            history=tuple(_entry(one) for one in reversed(self.log.history())),
        )

    def _review(self) -> ReviewAnswer:
        last = next(reversed(self.log.reviews()), None)
        return ReviewAnswer(
            number=None if last is None else last.number,
            by="" if last is None else last.by,
            why="" if last is None else last.why,
            at=None if last is None else last.at,
            due=self.log.review_due(),
            overdue=self.overdue(),
        )

    def _override(self, one: Override) -> OverrideAnswer:
        return OverrideAnswer(
            id=one.id,
            limit=one.limit,
            value=one.value,
            by=one.by,
            why=one.why,
            ends=one.ends,
            approved_by=one.approved_by,
            revoked_by=one.revoked_by,
            in_force=one.in_force(self.clock.now()),
        )


def open_policies(
    settings: Settings, engine: Engine | None = None, clock: Clock | None = None
) -> Policies:
    """Open the record of policies in the runtime's database.

    Raises:
        DatabaseUnavailable: it does not answer.
    """
    log = PolicyLog(engine or open_runtime(settings), anchor(settings, "policies"))
    return Policies(log=log, source=settings.policy, clock=clock or WallClock())


def _entry(one: Installed) -> PolicyEntry:
    return PolicyEntry(
        number=one.number, hash=one.hash, origin=one.origin, by=one.by, why=one.why, at=one.at
    )
