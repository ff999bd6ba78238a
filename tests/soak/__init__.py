"""Cases that take too long for every change, run by `python -m tests.soak [NAME...]`."""
