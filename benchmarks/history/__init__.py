"""All that asv measured, on one HTML page that needs nothing beside itself.

    python -m benchmarks.history

`results` reads asv's files into `measurements`, `plot` draws those of one benchmark, `page` puts
all of them together.
"""
