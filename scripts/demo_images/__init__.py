"""Simulated real and generated images, so that every command can be tried on a fresh machine."""
