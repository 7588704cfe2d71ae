#!/usr/bin/env bash
# Fits a small simulated data set from a fresh clone and leaves the results in demo_output/.
# Arguments go to `basisvae-scvi demo`. See scripts/_environment.sh for the settings.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

prepare_environment
cd "$ROOT"
exec "$VENV/bin/basisvae-scvi" demo -o demo_output "$@"
