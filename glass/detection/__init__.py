"""The former location of the detector, kept because the cards of published models refer to it."""
