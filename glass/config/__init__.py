"""Settings of a run, records of what it learnt from, and its folder."""
