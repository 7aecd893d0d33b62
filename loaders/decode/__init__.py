"""Decoders, from encoded bytes to pixels: libjpeg-turbo, DALI, nvJPEG, Pillow."""
