"""``python -m basisvae_scvi`` is the command line."""

import sys

from basisvae_scvi.cli import main

if __name__ == "__main__":
    sys.exit(main())
