"""Which recordings are the same footage."""
