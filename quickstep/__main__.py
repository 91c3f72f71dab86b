"""python -m quickstep: the same as the command `quickstep`."""

from quickstep.apps.cli import main

if __name__ == "__main__":
    main()
