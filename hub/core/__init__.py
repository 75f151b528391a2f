"""Pure values and functions: no I/O, no clock, no randomness. Everything may import this; this imports `consent` only."""
