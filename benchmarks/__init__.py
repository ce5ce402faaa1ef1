"""Benchmarks of t1djax: what each model reaches, and what it costs. `python -m benchmarks --help`."""
