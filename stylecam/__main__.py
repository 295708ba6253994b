"""`python -m stylecam`, for torchrun."""

from stylecam.cli import run

run()
