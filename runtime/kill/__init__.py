"""The kill switch and the sequence that empties the venues."""
