"""Micrographs, particles, their file formats and their scores: NumPy, SciPy and OpenCV, never torch."""
