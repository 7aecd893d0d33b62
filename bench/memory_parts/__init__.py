"""Parts of the memory bench."""
