"""What an HDF5 file holds, whatever its name: an AnnData, counts of 10x, or something else."""

from __future__ import annotations

from pathlib import Path

import h5py

from ._errors import CommandError, list_some
from ._foreign import quoted
from ._paths import InputKind

_ANNDATA = {"obs", "var"}
_LOOM = {"matrix", "row_attrs", "col_attrs"}


def hdf5_kind(file_path: Path, path: Path) -> InputKind:
    """Tell AnnData and 10x files apart.

    Parameters
    ----------
    file_path
        The file.
    path
        What messages call it.

    Raises
    ------
    CommandError
        For an HDF5 file with other contents.
    OSError
        For a file that HDF5 cannot open.
    """
    with h5py.File(file_path, "r") as file:
        names = set(file)
        if file_path != path and not names >= _ANNDATA:  # what is said next is of the plain file
            path = path.with_suffix("")
        if "mod" in names:
            raise CommandError(mudata_message(path, list(file["mod"])))
        if names >= _ANNDATA:
            return InputKind.h5ad
        if names >= _LOOM:
            raise CommandError(
                f"{path} is a loom file. pip install loompy, then: python -c "
                f'"import anndata; anndata.io.read_loom({quoted(path)})'
                f'.write_h5ad({quoted(path.with_suffix(".h5ad"))})".'
            )
        if any("barcodes" in file[name] for name in names if hasattr(file[name], "keys")):
            return InputKind.tenx_h5
        if "barcode_info" in names:
            raise CommandError(
                f"{path} is Cell Ranger's record of molecules, without a matrix of counts; name "
                "filtered_feature_bc_matrix.h5 beside it."
            )
        if "assays" in names:
            raise CommandError(
                f"{path} is an h5Seurat file. In R: SeuratDisk::Convert({quoted(path)}, "
                "dest='h5ad')."
            )
        raise CommandError(
            f"{path} is an HDF5 file with {list_some(sorted(names), 8)}; an AnnData has obs, var "
            "and X, a 10x file has matrix/barcodes. Make an AnnData of it and write that."
        )


def mudata_message(path: Path, modalities: list[str]) -> str:
    """What to do with a MuData."""
    name = "rna" if "rna" in modalities or not modalities else modalities[0]
    output = quoted(path.with_name(f"{path.stem}_{name}.h5ad"))
    one = (
        f"read_zarr({quoted(path)})[{name!r}]"
        if path.is_dir()
        else f"read_h5ad({quoted(path)}, {name!r})"
    )
    return (
        f"{path} is a MuData of {list_some(modalities, 5)}. Write the one with the counts as "
        f'AnnData: python -c "import mudata; mudata.{one}.write_h5ad({output})".'
    )
