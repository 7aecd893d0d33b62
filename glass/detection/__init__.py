"""Where the detector stood before; cards of published models name this path."""
