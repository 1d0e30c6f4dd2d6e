"""The parts of gpu.py; each module measures one and has a function `run` that is given the command line."""
