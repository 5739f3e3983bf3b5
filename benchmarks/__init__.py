"""Times multiparam beside what users would pick instead: `python benchmarks/run.py`."""
