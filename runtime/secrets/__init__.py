"""Secrets by reference: from the environment on a laptop, from Vault in production."""
