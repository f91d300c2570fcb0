"""Who hears of trouble: what counts as trouble, and the ways to tell."""
