"""Micrographs: finding and naming their files, reading them, the arithmetic of images."""
