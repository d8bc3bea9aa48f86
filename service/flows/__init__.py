"""Streams and online features as the service feeds and follows them."""
