"""How work is done: workers, claims on them, caches and memory."""
