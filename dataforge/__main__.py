"""`python -m dataforge` is `forge`."""

from dataforge.cli import main

main()
