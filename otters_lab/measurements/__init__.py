"""Captures: recorded traces on disk, from the crash-safe spool to the sealed HDF5 file."""
