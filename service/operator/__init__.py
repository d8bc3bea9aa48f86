"""What an operator asks for: kill switch, policy, registry, alerts."""
