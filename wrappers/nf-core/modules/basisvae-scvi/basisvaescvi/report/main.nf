process BASISVAESCVI_REPORT {
    tag "${meta.id}"
    label 'process_single'

    // Neither resolves before the first release on Bioconda.
    conda "${moduleDir}/environment.yml"
    container "${workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container
        ? 'https://depot.galaxyproject.org/singularity/basisvae-scvi:0.1.0--pyhdfd78af_0'
        : 'biocontainers/basisvae-scvi:0.1.0--pyhdfd78af_0'}"

    input:
    tuple val(meta), path(h5ad)

    output:
    tuple val(meta), path("${prefix}.html"), emit: html
    tuple val("${task.process}"), val('basisvae-scvi'), eval('basisvae-scvi --version'), topic: versions, emit: versions_basisvaescvi

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    export NUMBA_CACHE_DIR="\${NUMBA_CACHE_DIR:-\$PWD/.numba}"
    export MPLCONFIGDIR="\${MPLCONFIGDIR:-\$PWD/.matplotlib}"

    basisvae-scvi report \\
        ${h5ad} \\
        --output ${prefix}.html \\
        ${args}
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    touch ${prefix}.html
    """
}
