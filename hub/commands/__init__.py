"""The `hub` command: one file per subcommand.

Each imports what it works with when it is called, for `hub --help` and `hub serve` should not load what they don't use.
"""
