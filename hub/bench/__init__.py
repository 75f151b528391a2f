"""Benchmarks: what the hub costs, measured on the shipped code over a synthetic world. See deploy/bench/README.md."""
