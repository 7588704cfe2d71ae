#!/usr/bin/env cwl-runner
cwlVersion: v1.2
class: CommandLineTool
label: basisvae-scvi assign
doc: >-
  Gives further genes of the cells of a fitted model their group, scale and shift (BasisVAE on
  scvi-tools).
baseCommand: [basisvae-scvi, assign]

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
    doc: The cells of the model with further genes.
    inputBinding: {position: 1}
  model:
    type: Directory
    doc: Folder that basisvae-scvi fit has saved.
    inputBinding: {prefix: --model-dir}
  output_name:
    type: string
    default: assigned.h5ad
    inputBinding: {prefix: --output}
  layer:
    type: string?
    doc: Layer with the data, or raw; that of the model by default.
    inputBinding: {prefix: --layer}
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
  assigned:
    type: File
    format: edam:format_3590
    outputBinding: {glob: $(inputs.output_name)}
  run_info:
    type: File
    outputBinding: {glob: $(inputs.output_name).run.json}
