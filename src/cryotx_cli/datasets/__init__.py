"""Labelled micrographs to train and to measure on: COCO, CryoPPP, coordinates beside micrographs."""
