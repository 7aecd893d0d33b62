"""The manifest and the description of a data set. Builds write them, everything else reads them."""
