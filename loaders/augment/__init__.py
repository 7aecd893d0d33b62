"""Changed images, traced back to the windows that each crop needs."""
