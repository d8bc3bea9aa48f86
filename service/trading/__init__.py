"""What a trading process is put together from: engine, crew, seats, venues, proofs, trail."""
