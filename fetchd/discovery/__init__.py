"""Where an address's mail is: presets, autoconfiguration, the DNS, and probing.

`discover.discover` asks them in that order, `greeting.greet` tries what was found. No password
is known here, so none can be sent.
"""
