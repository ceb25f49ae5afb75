"""What everything costs: the parts of `experiments/benchmark.py`, each beside a plain way to do the same."""
