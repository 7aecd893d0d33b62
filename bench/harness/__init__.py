"""The parts that all benches share: workers, turns, results, tables."""
