"""The guardrail policy: its file, its record, what a change lets through."""
