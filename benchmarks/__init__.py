"""Measurements: fetchd beside its rivals and beside the limit of what a client can reach.

`python -m benchmarks.run` measures (see run.py), `python -m benchmarks.kill` kills.
"""
