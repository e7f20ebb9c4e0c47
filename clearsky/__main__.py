"""The command `clearsky`, as `python -m clearsky`."""

from server.cli import main

if __name__ == "__main__":
    main()
