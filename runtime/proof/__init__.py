"""What a tick saw, kept beside its decision, and the same tick run again from it."""
