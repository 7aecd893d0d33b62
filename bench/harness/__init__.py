"""What all benches share: workers, turns, results, tables."""
