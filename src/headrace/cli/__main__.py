"""`python -m headrace.cli` runs `headrace`."""

from headrace.cli import main

main()
