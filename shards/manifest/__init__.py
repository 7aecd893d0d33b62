"""A data set's manifest and description. Builds write them, and all other code reads them."""
