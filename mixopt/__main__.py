"""`python -m mixopt` is `mixopt`."""

from mixopt.cli import main

if __name__ == "__main__":
    main()
