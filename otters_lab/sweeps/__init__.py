"""Recipes and plans: what to vary, how often, in which order; and the runner that takes the traces."""
