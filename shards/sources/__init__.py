"""Finds a build's source images in folders, lists, archives and tables, and interprets the words that describe them."""
