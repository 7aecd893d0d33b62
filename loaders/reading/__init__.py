"""Members of samples: mapped, cached or fetched by ranges; planning and prefetching."""
