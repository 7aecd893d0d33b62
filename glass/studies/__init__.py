"""Studies of many runs: searches over settings, final runs with several seeds, and studies of the number of crops."""
