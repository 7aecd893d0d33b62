"""Settings of a run, the documents that are written, and a run's folder."""
