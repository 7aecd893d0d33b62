"""Makes data sets from tars that were made elsewhere: reads their labels, assigns splits, writes sidecars."""
