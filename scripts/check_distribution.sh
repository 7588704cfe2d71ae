#!/usr/bin/env bash
# Builds sdist and wheel, installs the wheel in an empty environment, and tries it from there:
# files in both, --version, simulate, fit and report, every public name, the embedded cells.
#
#   PYTHON       interpreter of the environment (default: python3.11, else python3)
#   UV           the uv to use (default: the one on PATH)
#   WHEELHOUSE   folder with a wheel of a CPU build of torch (default: PIP_FIND_LINKS)
#
# Torch comes as a CPU build or not at all: where none can be had, the script says so and ends
# with 75 instead of fetching gigabytes of CUDA libraries.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
uv="${UV:-$(command -v uv || true)}"
python="${PYTHON:-$(command -v python3.11 || command -v python3)}"
[ -n "$uv" ] || {
    echo "error: no uv found; pip install uv, or name it: UV=/path/to/uv bash $0" >&2
    exit 1
}
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
# Nothing of the clone or of another environment may help.
unset PYTHONPATH VIRTUAL_ENV
export PYTHONNOUSERSITE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

echo "Building sdist, and the wheel from it ..."
"$uv" build --quiet --python "$python" --out-dir dist "$root"
wheel="$(ls dist/*.whl)"
"$python" "$root/scripts/check_archives.py" "$root" dist

echo "Installing the wheel in an empty environment ..."
"$uv" venv --quiet --python "$python" env
links=()
for folder in ${WHEELHOUSE:-${PIP_FIND_LINKS:-}}; do links+=(--find-links "$folder"); done
torch="$(ls ${WHEELHOUSE:-${PIP_FIND_LINKS:-}}/torch-*+cpu-"$("$python" -c \
    'import sys; print("cp%d%d" % sys.version_info[:2])')"-*.whl 2>/dev/null | tail -n 1 || true)"
if [ -n "$torch" ]; then
    install=("${links[@]}" "$torch")
elif "$uv" pip install --quiet --python env/bin/python --torch-backend cpu --dry-run torch >/dev/null 2>&1; then
    install=(--torch-backend cpu)
else
    echo "No CPU build of torch can be had: the wheel was built and looked at, but not installed."
    exit 75
fi
"$uv" pip install --quiet --python env/bin/python "${install[@]}" "$wheel"

echo "Trying it ..."
want="$("$python" -c "import runpy; print(runpy.run_path('$root/basisvae_scvi/_version.py')['__version__'])")"
have="$(env/bin/basisvae-scvi --version)"
[ "$have" = "$want" ] || {
    echo "error: basisvae-scvi --version says '$have', not '$want'." >&2
    exit 1
}
# The start and the likelihood for which the least has to be compiled.
env/bin/basisvae-scvi simulate --output counts.h5ad --n-obs 60 --n-vars 20 --likelihood poisson --quiet
env/bin/basisvae-scvi fit counts.h5ad --output fitted.h5ad --likelihood poisson --init pca \
    --n-basis 4 --n-restarts 1 --max-epochs 2 --accelerator cpu --threads 1 --quiet
env/bin/basisvae-scvi report fitted.h5ad --output report.html --quiet
env/bin/python - "$scratch" <<'PYTHON'
import sys
from pathlib import Path

import anndata as ad
import basisvae_scvi as bv

here = Path(bv.__file__).resolve()
assert Path(sys.argv[1]).resolve() in here.parents, f"imported from {here}, not from the wheel"
for name in bv.__all__:
    getattr(bv, name)
assert bv.datasets.marrow_erythroid().n_obs == 1000
adata = ad.read_h5ad("fitted.h5ad")
assert adata.obs["basisvae_pseudotime"].between(0, 1).all()
assert adata.var["basisvae_cluster"].notna().all()
assert here.with_name("py.typed").is_file()
assert "<html" in Path("report.html").read_text(encoding="utf-8")
print(f"basisvae-scvi {bv.__version__} works from its wheel")
PYTHON
