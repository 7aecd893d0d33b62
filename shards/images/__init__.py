"""Image files: their formats, their pixels, and the forms in which shards store them."""
