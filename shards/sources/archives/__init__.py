"""Archives as sources: lists their members, and reads images without unpacking the archives."""
