"""`python -m xdsi`, by which `up` and `demo` start services."""

from xdsi.cli import main

main()
