"""Archives as sources: what is in them, and how images are read where they lie."""
