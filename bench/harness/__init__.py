"""The code that all benches share: worker processes, alternating rounds, results, tables."""
