"""The manifest and description of a data set: written by build, read by all."""
