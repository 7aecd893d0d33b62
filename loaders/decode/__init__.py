"""Encoded bytes to pixels: libjpeg-turbo, DALI, Pillow."""
