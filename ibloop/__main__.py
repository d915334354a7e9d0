"""``python -m ibloop`` is the ``ibloop`` command."""

from ibloop.cli import main

if __name__ == "__main__":
    main()
