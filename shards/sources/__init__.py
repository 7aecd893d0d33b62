"""Finds the images of a build, in folders, lists, archives and tables, and understands the words that describe them."""
