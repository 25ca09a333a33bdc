"""Figures that the project claims, each made by one command: `python -m benchmarks NAME`. Not part of the tests."""
