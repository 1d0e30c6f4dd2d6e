"""Labelled micrographs from physics: structures, specimen, optics and camera."""
