#!/usr/bin/env bash
# Runs the tests from a fresh clone. Arguments go to pytest.
# See scripts/_environment.sh for the settings.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

prepare_environment test
cd "$ROOT"
exec "$VENV/bin/python" -m pytest "$@"
