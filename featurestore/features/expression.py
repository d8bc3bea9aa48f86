"""Feature names read back: what they read of the lake, and how much history they need."""

from featurestore.errors import ViewUnknown
from featurestore.features.declaration import FORM, Feature, Source, parsed
from featurestore.views import is_plain


def parse_input(text: str) -> Source | Feature:
    """Read a source or a feature from its name.

    Raises:
        ViewUnknown: no such formula, or not a name of that form.
        ContractBroken: the formula refuses its inputs or parameters.
    """
    return parsed(text)


def parse_feature(text: str) -> Feature:
    """Read a computed feature from its name; ViewUnknown if it is a plain source."""
    found = parsed(text)
    if isinstance(found, Source):
        raise ViewUnknown(f"{text!r} is a source, not a computed feature; {FORM}")
    return found


def sources_of(text: str) -> tuple[Source, ...]:
    """Return everything of the lake that a name reads: itself, or the sources of its formula."""
    found = Source(text) if is_plain(text) else parsed(text)
    return (found,) if isinstance(found, Source) else found.sources


def bars_of(text: str, length: int = 1) -> int:
    """Return the bars of history that a window of `length` of a source or feature needs."""
    found = None if is_plain(text) else parsed(text)
    return found.required + length - 1 if isinstance(found, Feature) else length
