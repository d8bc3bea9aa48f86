"""Features as functions of fixed-length windows: the same bits in research and in a decision.

Importing any part of it enters every formula of the library, so that each can be named anywhere.
"""

from featurestore.features.library import LIBRARY

__all__ = ["LIBRARY"]
