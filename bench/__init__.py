"""Benchmarks of throughput and memory. Each prints a table, then one JSON document."""
