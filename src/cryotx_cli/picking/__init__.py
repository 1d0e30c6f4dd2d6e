"""The work on one micrograph, and the processes of this machine or of a cluster that share it."""
