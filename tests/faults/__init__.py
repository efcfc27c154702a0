"""Faults and hostile input: what must come of them, and the harness that kills the road (`make torture`)."""
