"""Pure values and functions: no I/O, no clock, no randomness. All may import this; this imports `consent` only."""
