"""`python -m personseg`: the same as the command `personseg`."""

from personseg.cli import main

main()
