#!/usr/bin/env cwl-runner
cwlVersion: v1.2
class: CommandLineTool
label: basisvae-scvi project
doc: >-
  Places new cells along the process of a fitted model (BasisVAE on scvi-tools).
baseCommand: [basisvae-scvi, project]

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
  cells:
    type: File
    format: edam:format_3590
    doc: New cells with the genes of the model.
    inputBinding: {position: 1}
  model:
    type: Directory
    doc: Folder that basisvae-scvi fit has saved.
    inputBinding: {prefix: --model-dir}
  output_name:
    type: string
    default: projected.h5ad
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
  projected:
    type: File
    format: edam:format_3590
    outputBinding: {glob: $(inputs.output_name)}
  run_info:
    type: File
    outputBinding: {glob: $(inputs.output_name).run.json}
