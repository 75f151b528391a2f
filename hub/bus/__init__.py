"""Engines of the bus. Each keeps the contract in `hub/ports.py`."""
