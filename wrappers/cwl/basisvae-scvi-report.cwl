#!/usr/bin/env cwl-runner
cwlVersion: v1.2
class: CommandLineTool
label: basisvae-scvi report
doc: >-
  Makes a web page from fitted data: what was found, and whether it can be trusted (BasisVAE on
  scvi-tools).
baseCommand: [basisvae-scvi, report]

$namespaces:
  edam: http://edamontology.org/

hints:
  # Resolves once the package is released on Bioconda.
  SoftwareRequirement:
    packages:
      basisvae-scvi:
        version: ["0.1.0"]

inputs:
  fitted:
    type: File
    format: edam:format_3590
    doc: Output of basisvae-scvi fit.
    inputBinding: {position: 1}
  output_name:
    type: string
    default: report.html
    inputBinding: {prefix: --output}
  title:
    type: string?
    inputBinding: {prefix: --title}
  key_added:
    type: string
    default: basisvae
    inputBinding: {prefix: --key-added}
  genes:
    type:
      - "null"
      - type: array
        items: string
        inputBinding: {prefix: --gene}
    doc: Genes to draw; one of each group by default.
  color:
    type:
      - "null"
      - type: array
        items: string
        inputBinding: {prefix: --color}
    doc: Columns of obs to show z against.

outputs:
  report:
    type: File
    format: edam:format_2331
    outputBinding: {glob: $(inputs.output_name)}
