"""``python -m mulisa`` is ``mulisa``."""

from mulisa.cli import main

if __name__ == "__main__":
    main()
