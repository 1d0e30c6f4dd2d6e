"""The programs that run cryotx as one of their jobs: what each expects of a job, and where it looks for the results."""
