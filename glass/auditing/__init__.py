"""The audit of a data set, which finds file properties that separate the classes, and pictures that occur twice."""
