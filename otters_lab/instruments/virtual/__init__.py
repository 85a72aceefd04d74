"""The virtual bench: instruments emulated behind pyvisa at the level of SCPI bytes, and what they measure."""
