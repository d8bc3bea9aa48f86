"""The compact engine: bundle contract, inference, guardrails, routing, journal."""
