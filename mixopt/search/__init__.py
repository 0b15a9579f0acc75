"""A search from its file to its proof: the loop, what it may spend, what it writes down, what it ends with."""
