"""Makes data sets of tars that were made elsewhere: labels, splits, sidecars."""
