"""The manifest and the description of a data set. Builds write them, and all other code reads them."""
