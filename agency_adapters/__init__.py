"""What an agency runs on its own side: a client of the hub's public API, and one file per kind of system it connects.

Stands alone: the standard library and httpx, cryptography, joserfc, typer, rich. Nothing of the hub's own code.
"""
