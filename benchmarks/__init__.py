"""Speed beside what one would use instead; `python -m benchmarks` runs it."""
