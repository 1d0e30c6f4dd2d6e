"""How the networks learn: matching, losses, data and calibration."""
