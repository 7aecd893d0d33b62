"""Finds the images to build from in folders, lists, archives and tables, and interprets words that describe them."""
