"""Benchmarks of throughput and memory; each prints a table, then one JSON document."""
