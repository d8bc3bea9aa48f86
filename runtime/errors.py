"""What can go wrong in the runtime, each error named for what happened."""

from featurestore.errors import PlatformError


class RuntimeFault(PlatformError):
    """The runtime refused or could not finish; state is what the journal says."""


class OrderInvalid(RuntimeFault):
    """An order, fill or amount breaks a rule of the domain."""


class BundleRefused(RuntimeFault):
    """A bundle did not verify; the text names the file and the reason. The previous one runs on."""


class DecisionInvalid(RuntimeFault):
    """Inputs or outputs of the decision graph are missing, stale, not finite or out of range."""


class PolicyInvalid(RuntimeFault):
    """The guardrail policy file is unreadable, incomplete or contradicts itself."""


class AccountMode(RuntimeFault):
    """An account of paper venues was to trade with real brokers, or the other way round."""


class JournalBroken(RuntimeFault):
    """The hash chain or the double entry does not hold; the text names the sequence number."""


class VenueUnknownOutcome(RuntimeFault):
    """A venue did not answer; the order must be asked about by client id, never resent blindly."""


class VenueRefused(RuntimeFault):
    """A venue does not serve this caller: another token, account, venue or protocol."""


class VenueProtocol(RuntimeFault):
    """What came over a connection to a venue is no message of its protocol."""


class RegistryConflict(RuntimeFault):
    """A promotion or roll-back contradicts the registry's history."""


class BundleStopped(RuntimeFault):
    """A bundle left its stop bands and was taken out; who took over decides when asked again."""


class DatabaseUnavailable(RuntimeFault):
    """The database could not be opened or does not answer."""


class ScheduleUnknown(RuntimeFault):
    """No decision schedule has that name; the text lists what exists."""


class EntryConflict(RuntimeFault):
    """A chained log already holds that key with other content; entries are never changed."""


class KeyUnusable(RuntimeFault):
    """A signing key or the list of trusted signers is missing, malformed or unprotected."""


class FeedInvalid(RuntimeFault):
    """A feed published a bar that cannot be a price."""


class ReplayImpossible(RuntimeFault):
    """A replay was asked for over no session, or on a clock that cannot be moved."""


class StreamUnavailable(RuntimeFault):
    """A stream could not be opened, read or written; unacknowledged messages come again."""


class GroupUnknown(RuntimeFault):
    """No such consumer group on that stream; subscribe it first."""


class MessageInvalid(RuntimeFault):
    """A message cannot be published or decoded; the text says which and why."""


class MarketRuleUnknown(RuntimeFault):
    """No market rule was in force on that day, or the rules' file cannot be read."""


class ScopeUnknown(RuntimeFault):
    """A kill switch was asked for a scope that would stop nothing."""


class ReleaseRefused(RuntimeFault):
    """A kill switch stays on: two different persons and a reason are needed to release it."""


class PolicyRefused(RuntimeFault):
    """A policy change or an override is against the rules; what is in force stays."""


class Superseded(RuntimeFault):
    """Another process trades the account now; this one may neither record nor send any more."""


class ClockInDoubt(RuntimeFault):
    """This host's clock contradicts the record; nothing is decided until they agree."""


class HandedOver(RuntimeFault):
    """This process was told to stop; what it has not sent stays on record for the next one."""


class VenuesInvalid(RuntimeFault):
    """The file of paper venues, or the record of measured latencies, cannot be used."""


class LatencyUnmeasured(RuntimeFault):
    """An account's journal does not tell how long its orders took; the text says why."""


class SecretMissing(RuntimeFault):
    """A secret's path or field is absent; the text names it, never a value."""


class SecretForbidden(RuntimeFault):
    """The source of secrets refuses who asks: a bad login, a revoked token, a missing right."""


class SecretUnavailable(RuntimeFault):
    """The source of secrets does not answer or is sealed; what was read before stays in use."""


class SecretConflict(RuntimeFault):
    """A secret was changed by somebody else meanwhile; nothing was written."""


class AlertUnknown(RuntimeFault):
    """No open alert has that id or key; the text lists what is open."""


class AlertRefused(RuntimeFault):
    """An alert is taken by a person with a name, and ended with a word on how; it stays."""


class EscalationInvalid(RuntimeFault):
    """The file that says who hears of an alert cannot be read or contradicts itself."""


class NoticeFailed(RuntimeFault):
    """A notice was not delivered; it is tried again."""


class ObjectiveInvalid(RuntimeFault):
    """A service-level objective cannot be met or missed as it is written."""


class BreakUnknown(RuntimeFault):
    """No open break is called so, or it was to be resolved without a name and a reason."""


class ExportImpossible(RuntimeFault):
    """A part of the journal cannot be written to a file; the text says which and why."""


class KeyPending(RuntimeFault):
    """Another request under the same idempotency key is being worked on; nothing was changed."""
