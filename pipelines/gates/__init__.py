"""Significance and integrity gates: pure functions of evidence, thresholds in policy.toml."""
