"""The ground floor: quantities, errors, clock, files, provenance, and the Protocols by which rooms meet."""
