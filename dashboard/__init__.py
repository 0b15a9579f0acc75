"""What happened in a search, visibly: read-only screens on a store, live or copied, without torch."""
