"""Augmentation: random changes to training images, computed only where the crops need them."""
