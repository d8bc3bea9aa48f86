"""Where observations come from: one file per provider."""
