"""Benches: what stands on the table, its limits, its drivers and its virtual twins."""
