"""Every policy that was ever in force, override and review, as a hash-chained log of its own.

The log is the one truth of all processes: what one installs, the others follow at their next
tick. It is apart from the journal, so that a replay's journal stays a function of its inputs.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import RLock
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Engine

from runtime.anchored import appending, verified
from runtime.chain import ChainedLog, Entry, Head, HeadAnchor
from runtime.decoding import from_json
from runtime.errors import PolicyInvalid, PolicyRefused
from runtime.policies.overriding import Override, overridden
from runtime.policies.policy import Policy, parse_policy
from runtime.policies.reviews import Review, due

TABLE = "policies"
Origin = Literal["file", "rollback"]


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """A policy that came into force."""

    number: int  # 1, 2, 3, ...
    hash: str
    text: str  # the file as it was
    origin: Origin
    by: str
    why: str
    at: datetime  # UTC


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """Which overrides made the policy that a decision names."""

    hash: str
    number: int  # of the policy beneath
    overrides: tuple[str, ...]  # ids


class _Mark(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """What came of reading the policy file again."""

    active: Installed
    changed: bool
    refused: str  # why the file was not taken; empty if it was


@dataclass(slots=True)
class PolicyLog:
    """Installs, rolls back and overrides; every change is one entry and one transaction."""

    engine: Engine
    anchor: HeadAnchor | None = None  # remembers the head after each change, outside the database
    log: ChainedLog = field(init=False)
    _seen: Head = field(init=False)
    _installed: list[Installed] = field(default_factory=list)
    _policies: dict[int, Policy] = field(default_factory=dict)
    _overrides: dict[str, Override] = field(default_factory=dict)
    _applied: dict[str, Applied] = field(default_factory=dict)
    _reviews: list[Review] = field(default_factory=list)
    _lock: RLock = field(default_factory=RLock)

    def __post_init__(self) -> None:
        self.log = ChainedLog(self.engine, TABLE)
        self._seen = Head(seq=0, hash="")

    def verify(self) -> Head:
        """Recompute the chain; JournalBroken names the first entry that does not hold."""
        return verified(self.log, self.anchor)

    def active(self) -> Installed | None:
        """Return the policy in force, None before the first."""
        with self._lock:
            self._follow()
            return self._installed[-1] if self._installed else None

    def history(self) -> tuple[Installed, ...]:
        """Return every policy that came into force, oldest first."""
        with self._lock:
            self._follow()
            return tuple(self._installed)

    def overrides(self) -> tuple[Override, ...]:
        """Return every override that was ever asked for, oldest first."""
        with self._lock:
            self._follow()
            return tuple(self._overrides.values())

    def explain(self, policy_hash: str) -> tuple[Installed, tuple[Override, ...]] | None:
        """Return the file and the overrides behind the policy a decision names, None if unknown."""
        with self._lock:
            self._follow()
            for one in reversed(self._installed):
                if one.hash == policy_hash:
                    return one, ()
            applied = self._applied.get(policy_hash)
            if applied is None:
                return None
            return self._installed[applied.number - 1], tuple(
                self._overrides[name] for name in applied.overrides
            )

    def policy_at(self, at: datetime) -> Policy:
        """Return the policy in force with the overrides of that instant, on record before use.

        Raises:
            PolicyInvalid: no policy was ever installed.
        """
        with self._lock:
            self._follow()
            if not self._installed:
                raise PolicyInvalid("no policy is in force; install one with sluice policy reload")
            newest = self._installed[-1]
            used = [one for one in self._overrides.values() if one.in_force(at)]
            policy = self._policies[newest.number]
            if not used:
                return policy
            policy = overridden(policy, used)
            if policy.hash not in self._applied:
                ids = tuple(one.id for one in used)
                applied = Applied(hash=policy.hash, number=newest.number, overrides=ids)
                self._append("applied", policy.hash, at, applied)
            return policy

    def install(
        self, text: str, *, by: str, why: str, at: datetime, origin: Origin = "file"
    ) -> Installed:
        """Bring a policy into force; the same content again changes nothing.

        Raises:
            PolicyInvalid: the text is no policy; what is in force stays.
        """
        policy, who = parse_policy(text), person(by)
        with self._lock, self._writing() as connection:
            if self._installed and self._installed[-1].hash == policy.hash:
                return self._installed[-1]
            one = Installed(
                number=len(self._installed) + 1,
                hash=policy.hash,
                text=text,
                origin=origin,
                by=who,
                why=why,
                at=at,
            )
            self._write(connection, "policy", str(one.number), at, one)
        return one

    def reload(
        self, text: str, *, by: str, why: str, at: datetime, source: str = "policy"
    ) -> Reloaded:
        """Take the policy file as it is now, unless it is invalid or was rolled back unchanged.

        Raises:
            PolicyInvalid: the text is no policy and none is in force.
        """
        active = self.active()
        try:
            policy = parse_policy(text, source)
        except PolicyInvalid as error:
            if active is None:
                raise
            return Reloaded(active=active, changed=False, refused=str(error))
        filed = [one for one in self.history() if one.origin == "file"]
        if active is not None and filed and filed[-1].hash == policy.hash:
            stands = "" if active.hash == policy.hash else _rolled_back(filed[-1], active)
            return Reloaded(active=active, changed=False, refused=stands)
        installed = self.install(text, by=by, why=why, at=at)
        return Reloaded(active=installed, changed=installed != active, refused="")

    def rollback(self, number: int, *, by: str, why: str, at: datetime) -> Installed:
        """Bring an earlier policy back into force, as a new entry.

        Raises:
            PolicyRefused: there is no such policy.
        """
        known = {one.number: one for one in self.history()}
        if number not in known:
            listed = f"1 to {len(known)}" if known else "none"
            raise PolicyRefused(f"there is no policy number {number}; known are {listed}")
        return self.install(known[number].text, by=by, why=why, at=at, origin="rollback")

    def review(self, number: int, *, by: str, why: str, at: datetime) -> Review:
        """Put on record that a person has looked at every limit of the policy in force.

        Raises:
            PolicyRefused: another policy is in force than the one that was looked at, or it is not
                said who did and what came of it.
        """
        active = self.active()
        if active is None or active.number != number:
            now = "none is" if active is None else f"{active.number} is"
            raise PolicyRefused(f"policy {number} is not in force, {now}; review what is in force")
        if not why.strip():
            raise PolicyRefused("a review says in words what came of it")
        one = Review(number=number, hash=active.hash, by=person(by), why=why, at=at)
        self._append("review", f"{number}/{at.isoformat()}", at, one)
        return one

    def reviews(self) -> tuple[Review, ...]:
        """Return every review, oldest first."""
        with self._lock:
            self._follow()
            return tuple(self._reviews)

    def review_due(self) -> datetime | None:
        """Return when the next review has to be on record, None before the first policy."""
        reviews = self.reviews()
        return due(self._installed[0].at, reviews) if self._installed else None

    def ask(
        self, limit: str, value: str, *, seconds: int, by: str, why: str, at: datetime
    ) -> Override:
        """Ask for an override; it changes nothing before a second person approves.

        Args:
            limit: "section.name", one the policy allows to be overridden.
            value: as it would stand in the file.
            seconds: from now until it ends by itself.
            by: who asks.
            why: in words, not empty.
            at: UTC.

        Raises:
            PolicyRefused: the limit may not be overridden, or not for so long.
            PolicyInvalid: the value cannot be that limit, or no policy is in force.
        """
        installed = self.active()
        if installed is None:
            raise PolicyInvalid("no policy is in force, so there is nothing to override")
        policy = self._policies[installed.number]
        allowed, longest = policy.overrides.allowed or (), policy.overrides.max_seconds or 0
        if limit not in allowed:
            listed = ", ".join(allowed) or "nothing"
            raise PolicyRefused(f"{limit} may not be overridden; the policy allows {listed}")
        if not 0 < seconds <= longest:
            raise PolicyRefused(f"an override lasts from 1 to {longest} s, was asked for {seconds}")
        if not why.strip():
            raise PolicyRefused("an override needs a reason in words")
        who, ends = person(by), at + timedelta(seconds=seconds)
        key = "\x1f".join((limit, value, who, why, at.isoformat(), ends.isoformat()))
        name = hashlib.sha256(key.encode()).hexdigest()[:12]
        one = Override(id=name, limit=limit, value=value, by=who, why=why, at=at, ends=ends)
        overridden(policy, [one])
        self._append("override", name, at, one)
        return one

    def approve(self, override: str, *, by: str, at: datetime) -> Override:
        """Approve an override, as somebody else than who asked for it.

        Raises:
            PolicyRefused: unknown, over, approved or revoked already, or the same person.
        """
        one, who = self._open(override, at), person(by)
        if one.approved_at is not None:
            raise PolicyRefused(f"override {override} was approved by {one.approved_by} before")
        if who.casefold() == one.by.casefold():
            raise PolicyRefused(f"{who} asked for override {override}; a second person approves")
        self._append("approval", override, at, _Mark(id=override, by=who))
        return self._overrides[override]

    def revoke(self, override: str, *, by: str, at: datetime) -> Override:
        """End an override before its time; one person is enough to be more careful."""
        self._open(override, at)
        self._append("revocation", override, at, _Mark(id=override, by=person(by)))
        return self._overrides[override]

    def _open(self, override: str, at: datetime) -> Override:
        one = {one.id: one for one in self.overrides()}.get(override)
        if one is None:
            raise PolicyRefused(f"there is no override {override!r}")
        if one.revoked_at is not None or at >= one.ends:
            over = f"revoked by {one.revoked_by}" if one.revoked_by else f"over since {one.ends}"
            raise PolicyRefused(f"override {override} is {over}; ask for a new one")
        return one

    def _append(self, kind: str, key: str, at: datetime, value: object) -> None:
        with self._lock, self._writing() as connection:
            if self.log.find(kind, key, connection) is None:
                self._write(connection, kind, key, at, value)
        self._follow()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Yield a transaction in which this log has one writer and its newest state is known."""
        with appending(self.log, self.anchor) as connection:
            self._follow(connection)
            yield connection

    def _write(
        self, connection: Connection, kind: str, key: str, at: datetime, value: object
    ) -> None:
        payload = msgspec.json.encode(value, order="deterministic")
        self.log.append(connection, kind, key, at, payload)

    def _follow(self, connection: Connection | None = None) -> None:
        """Take up what any process has appended since."""
        head = self.log.head(connection)
        if head == self._seen:
            return
        for entry in self.log.entries(after=self._seen.seq, connection=connection):
            self._take(entry)
            self._seen = Head(seq=entry.seq, hash=entry.hash)

    def _take(self, entry: Entry) -> None:
        payload = entry.payload
        match entry.kind:
            case "policy":
                one = from_json(payload, Installed)
                self._installed.append(one)
                self._policies[one.number] = parse_policy(one.text, f"policy {one.number}")
            case "override":
                asked = from_json(payload, Override)
                self._overrides[asked.id] = asked
            case "review":
                self._reviews.append(from_json(payload, Review))
            case "applied":
                applied = from_json(payload, Applied)
                self._applied[applied.hash] = applied
            case kind:
                mark = from_json(payload, _Mark)
                word = "approved" if kind == "approval" else "revoked"
                changes: Mapping[str, Any] = {f"{word}_by": mark.by, f"{word}_at": entry.at}
                self._overrides[mark.id] = msgspec.structs.replace(
                    self._overrides[mark.id], **changes
                )


def person(name: str) -> str:
    """Return a person's name; PolicyRefused if there is none."""
    found = " ".join(name.split())
    if not found or len(found) > 100:
        raise PolicyRefused("a change needs the name of who makes it, up to 100 characters")
    return found


def _rolled_back(filed: Installed, active: Installed) -> str:
    return (
        f"the file is still policy {filed.number}, which {active.by} rolled back to the content "
        f"of policy {active.number}; change the file, or roll back to {filed.number}"
    )
