"""`python -m antiphon`: the same as the `antiphon` script."""

from antiphon.pipeline.cli import main

if __name__ == "__main__":
    main()
