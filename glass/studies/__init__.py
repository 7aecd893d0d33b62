"""Studies that consist of many runs: searches over settings, final runs with several seeds, and crop studies."""
