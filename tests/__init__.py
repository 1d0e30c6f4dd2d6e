"""A package, so that no other package of this name that is installed stands in for it in the processes of tests."""
