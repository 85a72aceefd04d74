"""Energy of an inference: constants with sources, counted operations, a report."""
