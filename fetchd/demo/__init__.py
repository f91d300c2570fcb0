"""The main job on embedded defaults: a loopback POP3 server, sample mail, a first look.

`python -m fetchd.demo` runs it (`run`); `server` and `sample` are also of use
in tests. Nothing here is imported by fetchd itself.
"""
