"""Mistakes of a person's, as every part of the program raises them."""

__all__ = ["InputError"]


class InputError(Exception):
    """A mistake of the person's. The message is one sentence that names the thing and what to
    do."""
