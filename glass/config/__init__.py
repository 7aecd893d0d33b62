"""Training-run settings, the record of the images that a run learnt from, and the run folder."""
