"""`python -m motedet`."""

from motedet.cli import main

if __name__ == "__main__":
    main()
