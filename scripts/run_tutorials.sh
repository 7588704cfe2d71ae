#!/usr/bin/env bash
# Executes every tutorial, one thread each and two at a time, and fails on the first error. Arguments
# go to scripts/build_tutorials.py, e.g. the name of one tutorial. Needs the extra `doc`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" NUMBA_NUM_THREADS="${NUMBA_NUM_THREADS:-1}"
exec "${PYTHON:-python}" scripts/build_tutorials.py --check --jobs 2 "$@"
