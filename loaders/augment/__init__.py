"""Augmentation: random changes of training images, computed only where the crops need them."""
