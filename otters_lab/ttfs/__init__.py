"""The time-to-first-spike code: levels, staircase thresholds, quantisers, layers."""
