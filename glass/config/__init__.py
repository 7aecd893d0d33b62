"""The settings of a training run, the record of the images that it learnt from, and its folder."""
