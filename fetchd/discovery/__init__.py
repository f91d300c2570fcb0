"""Where an address's mail is: presets, autoconfiguration, the DNS, and probing."""
