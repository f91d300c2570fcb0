"""What fetchd remembers: an index over the archive, and the state of every account."""
