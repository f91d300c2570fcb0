"""fetchd brings mail home: remote accounts into a verified archive, and on to where mail goes."""

__version__ = "0.1.0"
