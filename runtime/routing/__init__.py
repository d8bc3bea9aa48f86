"""Where an order is executed, and why."""
