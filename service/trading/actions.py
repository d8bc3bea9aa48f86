"""Which view of the lake tells an account of splits and dividends, if its prices need one."""

import re

from featurestore.errors import HistoryMissing
from featurestore.reader import LakeReader
from featurestore.series import OwnTimes
from featurestore.views import FeatureView, split_feature
from runtime.bundles.contract import Manifest
from runtime.bundles.inputs import CurrentWeights, MarketReader
from runtime.errors import BundleRefused
from runtime.execution.lake_actions import LakeActions

ADJUSTED = "adjusted"  # in the unit of a price that carries its splits and dividends already


def actions_of(reader: MarketReader, manifest: Manifest) -> LakeActions | None:
    """Return the splits and dividends to book for a bundle's account.

    None where the price says in its unit that it is adjusted: to book an action then would count it
    twice. Otherwise the view that the bundle adjusts its prices by, or the lake's only one.

    Raises:
        BundleRefused: the lake has several views of actions and the bundle names none.
    """
    if not isinstance(reader, LakeReader):
        return None  # a made-up market, without views
    view, price = split_feature(manifest.price_feature)
    if ADJUSTED in reader.view(view).field(price).unit:
        return None
    known = sorted(name for name, one in reader.contracts.items() if _tells_actions(one))
    named = _named(manifest) & set(known)
    chosen = sorted(named) or known
    if not chosen:
        return None
    if len(chosen) > 1:
        raise BundleRefused(
            f"manifest.json: {manifest.price_feature} is as traded, and its splits and dividends "
            f"may be those of {', '.join(chosen)}; read {manifest.price_feature}@VIEW in an input"
        )
    try:
        table = reader.table(chosen[0])
    except HistoryMissing:
        return None  # declared, and nothing is known yet
    return LakeActions(table) if isinstance(table, OwnTimes) else None


def _tells_actions(view: FeatureView) -> bool:
    """Say whether a view is one of `featurestore.actions.actions_view`."""
    fields = {field.name for field in view.fields}
    return view.calendar is None and view.entity == "symbol" and {"split", "dividend"} <= fields


def _named(manifest: Manifest) -> set[str]:
    """Return the views that a bundle adjusts the price it trades on by."""
    at = re.compile(re.escape(manifest.price_feature) + r"@([a-z][a-z0-9_]*)")
    features = (
        one.source.feature for one in manifest.inputs if not isinstance(one.source, CurrentWeights)
    )
    return {name for feature in features for name in at.findall(feature)}
