"""Snakemake wrapper of ``basisvae-scvi project``."""

from snakemake.shell import shell

extra = snakemake.params.get("extra", "")
log = snakemake.log_fmt_shell(stdout=True, stderr=True)

shell(
    "basisvae-scvi project {snakemake.input[0]:q}"
    " --model-dir {snakemake.input.model:q}"
    " --output {snakemake.output[0]:q}"
    " --threads {snakemake.threads}"
    " {extra} {log}"
)
