"""The form in which an image is stored: as it is, as a baseline JPEG, as tiles."""
