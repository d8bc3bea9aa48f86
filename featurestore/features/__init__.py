"""Features as functions of fixed-length windows: the same bits in research and in a decision."""
