"""Tars that were made elsewhere: labels, split, sidecars."""
