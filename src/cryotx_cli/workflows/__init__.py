"""One module per command: the work without the terminal. Workflows yield or return results and never print."""
