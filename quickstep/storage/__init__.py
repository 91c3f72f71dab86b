"""What stays on disk: the cache, model folders, files written whole or not at all, hubs."""
