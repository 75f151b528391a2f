"""REGULATORS and operators: what the log holds, opened for those who answer for it."""
