"""The source of truth: one engine, the fences, the tables, then one file per noun. Imports nothing above the ports."""
