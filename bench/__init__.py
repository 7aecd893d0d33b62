"""Throughput and memory: each bench prints a table, then one JSON document."""
