"""Code that all benches share: worker processes, alternating rounds, results and tables."""
