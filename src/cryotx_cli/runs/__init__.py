"""A picking run on disk: its folder, ledger, jobs, candidates and the choice among them."""
