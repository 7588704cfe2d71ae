#!/usr/bin/env bash
# Makes the environment of the tools that lint and run the wrappers (planemo, Snakemake, cwltool),
# or reuses it when nothing has changed. The tests in tests/wrappers find it by itself.
#
#   BASISVAE_WRAPPER_TOOLS   where it lives (default: .venv-wrappers in the clone)
#   PYTHON                   the interpreter to make it with (default: python3.11, else python3)
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="${BASISVAE_WRAPPER_TOOLS:-$root/.venv-wrappers}"
requirements="$root/wrappers/requirements.txt"
wanted="$(cat "$requirements" "${BASH_SOURCE[0]}" | cksum)"
[ "$(cat "$venv/.complete" 2>/dev/null)" != "$wanted" ] || exit 0

python="${PYTHON:-$(command -v python3.11 || command -v python3)}"
"$python" -m venv --clear "$venv"
# uv installs in seconds what takes pip a minute.
"$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check uv
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" -r "$requirements"
printf '%s\n' "$wanted" >"$venv/.complete"
