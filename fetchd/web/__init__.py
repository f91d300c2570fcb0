"""HTTP: metrics and health, for machines that watch this one.

listening.py    the addresses of a "host:port", and the sockets there
serving.py      uvicorn on the service's own event loop, and its limits
guard.py        what every request passes: who may ask, what every answer says
pages.py        what there is to ask for
metrics.py      every metric: name, meaning, unit, and how it is read off a snapshot
exposition.py   the metrics in Prometheus' and OpenMetrics' text
"""
