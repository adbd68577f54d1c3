"""`python -m variata` is `variata`."""

from .cli import main

main()
