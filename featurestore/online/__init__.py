"""The online store: the newest known values, read fast, each with its age.

`open_online(url)` picks the adapter; `materialize` fills one from a reader of the lake.
"""

from featurestore.online.opened import materialize, open_online
from featurestore.online.store import OnlineStore
from featurestore.online.values import OnlineValues

__all__ = ["OnlineStore", "OnlineValues", "materialize", "open_online"]
