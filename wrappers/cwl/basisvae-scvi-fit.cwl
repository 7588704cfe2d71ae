#!/usr/bin/env cwl-runner
cwlVersion: v1.2
class: CommandLineTool
label: basisvae-scvi fit
doc: >-
  Orders single cells along a process and groups genes by the shape of their expression
  (BasisVAE on scvi-tools).
baseCommand: [basisvae-scvi, fit]

$namespaces:
  edam: http://edamontology.org/

hints:
  # Resolves once the package is released on Bioconda.
  SoftwareRequirement:
    packages:
      basisvae-scvi:
        version: ["0.1.0"]

arguments:
  - prefix: --threads
    valueFrom: $(runtime.cores)

inputs:
  counts:
    type: File
    format: edam:format_3590
    doc: AnnData with raw counts, cells × genes.
    inputBinding: {position: 1}
  output_name:
    type: string
    default: fitted.h5ad
    inputBinding: {prefix: --output}
  model_name:
    type: string?
    doc: Name of the folder for the model; without it none is written.
    inputBinding: {prefix: --model-dir}
  report_name:
    type: string?
    doc: Name of the report (.html); without it none is written.
    inputBinding: {prefix: --report}
  tables_name:
    type: string?
    doc: Name of the folder for tables; without it none are written.
    inputBinding: {prefix: --tables}
  layer:
    type: string?
    doc: Layer with the counts, or raw; X by default.
    inputBinding: {prefix: --layer}
  batch_key:
    type: string?
    inputBinding: {prefix: --batch-key}
  size_factor_key:
    type: string?
    inputBinding: {prefix: --size-factor-key}
  latent_key:
    type: string?
    inputBinding: {prefix: --latent-key}
  latent_prior_key:
    type: string?
    inputBinding: {prefix: --latent-prior-key}
  latent_prior_scale:
    type: double
    default: 0.5
    inputBinding: {prefix: --latent-prior-scale}
  categorical_covariate_keys:
    type:
      - "null"
      - type: array
        items: string
        inputBinding: {prefix: --categorical-covariate-key}
  continuous_covariate_keys:
    type:
      - "null"
      - type: array
        items: string
        inputBinding: {prefix: --continuous-covariate-key}
  n_top_genes:
    type: int?
    doc: Model only so many variable genes.
    inputBinding: {prefix: --n-top-genes}
  allow_non_integer:
    type: boolean
    default: false
    inputBinding: {prefix: --allow-non-integer}
  n_basis:
    type: int
    default: 50
    inputBinding: {prefix: --n-basis}
  n_latent:
    type: int
    default: 1
    inputBinding: {prefix: --n-latent}
  no_scale:
    type: boolean
    default: false
    doc: Give genes no scale λ.
    inputBinding: {prefix: --no-scale-invariant}
  translation_invariant:
    type: boolean
    default: false
    doc: Give every gene a shift δ.
    inputBinding: {prefix: --translation-invariant}
  likelihood:
    type:
      type: enum
      symbols: [zinb, nb, poisson, gaussian, bernoulli]
    default: zinb
    inputBinding: {prefix: --likelihood}
  dispersion:
    type:
      type: enum
      symbols: [gene, gene-batch]
    default: gene
    inputBinding: {prefix: --dispersion}
  zero_inflation:
    type:
      type: enum
      symbols: [gene, latent]
    default: gene
    inputBinding: {prefix: --zero-inflation}
  inference:
    type:
      type: enum
      symbols: [collapsed, non-collapsed, fixed_pi]
    default: collapsed
    inputBinding: {prefix: --inference}
  objective:
    type:
      type: enum
      symbols: [evidence, paper]
    default: evidence
    inputBinding: {prefix: --objective}
  concentration:
    type: double
    default: 0.1
    inputBinding: {prefix: --concentration}
  latent_weight:
    type: double
    default: 1.0
    inputBinding: {prefix: --latent-weight}
  assignment_weight:
    type: double
    default: 1.0
    inputBinding: {prefix: --assignment-weight}
  shape_deviation:
    type: string?
    inputBinding: {prefix: --shape-deviation}
  max_epochs:
    type: int?
    inputBinding: {prefix: --max-epochs}
  batch_size:
    type: int
    default: 128
    inputBinding: {prefix: --batch-size}
  early_stopping:
    type: boolean
    default: false
    inputBinding: {prefix: --early-stopping}
  n_restarts:
    type: int
    default: 2
    inputBinding: {prefix: --n-restarts}
  init:
    type: string
    default: manifold
    inputBinding: {prefix: --init}
  root:
    type: string?
    doc: A cell, an early gene, a boolean column of obs, or column=category, where z starts.
    inputBinding: {prefix: --root}
  seed:
    type: long?
    inputBinding: {prefix: --seed}
  accelerator:
    type:
      type: enum
      symbols: [auto, cpu, gpu]
    default: auto
    inputBinding: {prefix: --accelerator}
  key_added:
    type: string
    default: basisvae
    inputBinding: {prefix: --key-added}

outputs:
  fitted:
    type: File
    format: edam:format_3590
    outputBinding: {glob: $(inputs.output_name)}
  run_info:
    type: File
    outputBinding: {glob: $(inputs.output_name).run.json}
  report:
    type: File?
    outputBinding: {glob: $(inputs.report_name)}
  model:
    type: Directory?
    outputBinding: {glob: $(inputs.model_name)}
  tables:
    type: Directory?
    outputBinding: {glob: $(inputs.tables_name)}
