"""Snakemake wrapper of ``basisvae-scvi fit``."""

from shlex import quote

from snakemake.shell import shell

extra = snakemake.params.get("extra", "")
log = snakemake.log_fmt_shell(stdout=True, stderr=True)

# What a rule may ask for beside the data; Snakemake leaves it to the command to make folders.
options = ""
if report := snakemake.output.get("report"):
    options += f" --report {quote(report)}"
if model := snakemake.output.get("model"):
    options += f" --model-dir {quote(model)}"
if tables := snakemake.output.get("tables"):
    options += f" --tables {quote(tables)}"
if figures := snakemake.output.get("figures"):
    options += f" --figures {quote(figures)}"

shell(
    "basisvae-scvi fit {snakemake.input[0]:q}"
    " --output {snakemake.output[0]:q}"
    "{options}"
    " --threads {snakemake.threads}"
    " {extra} {log}"
)
