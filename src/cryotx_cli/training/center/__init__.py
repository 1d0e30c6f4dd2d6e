"""How the default model learns."""
