"""Archives as sources: lists their members, and reads images from them without unpacking them."""
