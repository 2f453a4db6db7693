"""Documents: what they say, how they look, how they are sealed, and where they are kept."""
