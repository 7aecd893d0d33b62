"""The audit of a data set: metadata that separate the classes, and pictures that occur twice."""
