"""The journal: every decision, order, fill and cent, chained and in double entry."""
