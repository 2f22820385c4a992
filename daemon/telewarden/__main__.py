"""`python -m telewarden`: the command line."""

from telewarden.cli import main

if __name__ == "__main__":
    main()
