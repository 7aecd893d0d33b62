"""Audits a data set: finds file properties that separate the classes, and pictures that occur more than once."""
