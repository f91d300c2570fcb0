"""The service: what runs when, who watches it, and how it is talked to."""
