"""How orders are executed: style, prices, fills, latency, stops, what is said to venues."""
