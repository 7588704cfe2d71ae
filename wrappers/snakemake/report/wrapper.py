"""Snakemake wrapper of ``basisvae-scvi report``."""

from snakemake.shell import shell

extra = snakemake.params.get("extra", "")
log = snakemake.log_fmt_shell(stdout=True, stderr=True)

shell("basisvae-scvi report {snakemake.input[0]:q} --output {snakemake.output[0]:q} {extra} {log}")
