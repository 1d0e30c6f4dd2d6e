"""How the model of the paper learns."""
