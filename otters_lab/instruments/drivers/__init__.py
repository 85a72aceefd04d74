"""Drivers: one file an instrument, each a PyMeasure class and the role it fills."""
