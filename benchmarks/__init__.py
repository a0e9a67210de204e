"""What holdover costs, beside what the usual lossy buffer costs: `python -m benchmarks`. Nothing in here is a test."""
