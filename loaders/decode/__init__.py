"""Decoders, which turn encoded bytes into pixels: libjpeg-turbo, DALI, nvJPEG, Pillow."""
