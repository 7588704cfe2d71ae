"""Look into sdist and wheel: every file of the package is in both, and nothing else is.

python scripts/check_archives.py CLONE DIST
"""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

# Beside the package itself: what someone needs who tests or packages from the sdist.
SDIST_FOLDERS = ("basisvae_scvi", "tests", "scripts", "wrappers")


def tracked(clone: Path, *folders: str) -> set[str]:
    """Files under version control that are there."""
    listed = subprocess.run(
        ["git", "-C", str(clone), "ls-files", "-z", *folders],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return {name for name in listed.split("\0") if name and (clone / name).is_file()}


def names_of_wheel(path: Path) -> set[str]:
    """Files of the wheel without its own records."""
    with zipfile.ZipFile(path) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def names_of_sdist(path: Path) -> set[str]:
    """Files of the sdist without the leading folder."""
    with tarfile.open(path) as archive:
        return {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}


def main(clone: Path, dist: Path) -> int:
    """Compare, and say what is amiss."""
    [wheel], [sdist] = dist.glob("*.whl"), dist.glob("*.tar.gz")
    in_wheel, in_sdist = names_of_wheel(wheel), names_of_sdist(sdist)
    wrong = {
        "missing in the wheel": tracked(clone, "basisvae_scvi") - in_wheel,
        "foreign in the wheel": {n for n in in_wheel if not n.startswith("basisvae_scvi/")},
        "missing in the sdist": tracked(clone, *SDIST_FOLDERS) - in_sdist,
        "compiled": {n for n in in_wheel | in_sdist if n.endswith((".pyc", ".nbi", ".nbc"))},
    }
    for what, names in wrong.items():
        if names:
            print(f"error: {what}: {', '.join(sorted(names))}", file=sys.stderr)
    print(f"{wheel.name}: {len(in_wheel)} files, {sdist.name}: {len(in_sdist)} files")
    return int(any(wrong.values()))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
