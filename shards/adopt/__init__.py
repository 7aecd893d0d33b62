"""Turns tars made elsewhere into data sets: reads their labels, assigns splits, and writes sidecars."""
