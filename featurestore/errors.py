"""What can go wrong on the ground floor, each error named for what happened."""


class PlatformError(Exception):
    """Root of every error Sluice raises on purpose; its text is one sentence a user can act on."""


class FeatureStoreError(PlatformError):
    """The feature store could not do what was asked; nothing was written."""


class ContractBroken(FeatureStoreError):
    """Rows, or a declaration, do not satisfy a feature view's contract."""


class ViewUnknown(FeatureStoreError):
    """No such feature view or field; the text lists what exists."""


class HistoryMissing(FeatureStoreError):
    """A window asks for bars that are absent or not yet known at that time."""


class HoldoutSealed(FeatureStoreError):
    """Research code asked for rows of a sealed holdout."""


class SnapshotUnknown(FeatureStoreError):
    """A pinned table version is not in the lake, or its content hash differs."""


class CalendarUnknown(FeatureStoreError):
    """No session table for that exchange, or the date lies outside it."""


class LakeUnavailable(FeatureStoreError):
    """A table of the lake could not be read or written; the text says which and why."""


class SourceMissing(FeatureStoreError):
    """A provider of observations is not there; the text says what to install or configure."""


class FeatureStale(FeatureStoreError):
    """A value is older than its view allows; the text names it, its age and the limit."""


class OnlineUnavailable(FeatureStoreError):
    """The online store could not be opened, read or written; what it held still stands."""


class FeatureUndefined(FeatureStoreError):
    """A formula has no finite value on a window; the text names feature, symbol and instant."""
