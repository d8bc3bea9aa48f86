"""What people read of a verdict: the gate report with its pictures, and the model card."""
