"""otters-lab: from decaying optoelectronic synapses to time-to-first-spike transformers.

Importing this package loads nothing heavy: each room is imported by the command that needs it.
"""

__version__ = "0.1.0"
