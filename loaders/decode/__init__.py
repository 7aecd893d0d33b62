"""Encoded bytes to pixels: libjpeg-turbo, DALI, nvJPEG, Pillow."""
