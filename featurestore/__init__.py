"""Ground floor: sources in, point-in-time features out."""
