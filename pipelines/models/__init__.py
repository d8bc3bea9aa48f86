"""Models: declared, trained on what was known, exported, and judged as exported."""
