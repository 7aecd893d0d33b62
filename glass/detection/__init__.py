"""The former place of the detector, kept because cards of published models name this path."""
