"""The market's own rules: bands, halts, breakers, short sales, lots and phases, as dated data."""
