"""The bundle contract: written, signed, proved, loaded, and its graph at work."""
