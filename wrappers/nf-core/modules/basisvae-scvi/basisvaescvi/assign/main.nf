process BASISVAESCVI_ASSIGN {
    tag "${meta.id}"
    label 'process_medium'
    label 'process_gpu'

    // Neither resolves before the first release on Bioconda.
    conda "${moduleDir}/environment.yml"
    container "${workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container
        ? 'https://depot.galaxyproject.org/singularity/basisvae-scvi:0.1.0--pyhdfd78af_0'
        : 'biocontainers/basisvae-scvi:0.1.0--pyhdfd78af_0'}"

    input:
    tuple val(meta), path(h5ad)
    tuple val(meta2), path(model)

    output:
    tuple val(meta), path("${prefix}.h5ad")         , emit: h5ad
    tuple val(meta), path("${prefix}.h5ad.run.json"), emit: run_info
    tuple val(meta), path("${prefix}.log")          , emit: log
    tuple val("${task.process}"), val('basisvae-scvi'), eval('basisvae-scvi --version'), topic: versions, emit: versions_basisvaescvi

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def accelerator = task.accelerator ? 'gpu' : 'cpu'
    prefix = task.ext.prefix ?: "${meta.id}"
    if ("${h5ad}" == "${prefix}.h5ad") {
        error("Input and output names are the same, set prefix in module configuration to disambiguate!")
    }
    """
    export NUMBA_CACHE_DIR="\${NUMBA_CACHE_DIR:-\$PWD/.numba}"
    export MPLCONFIGDIR="\${MPLCONFIGDIR:-\$PWD/.matplotlib}"

    basisvae-scvi assign \\
        ${h5ad} \\
        --model-dir ${model} \\
        --output ${prefix}.h5ad \\
        --log-file ${prefix}.log \\
        --threads ${task.cpus} \\
        --accelerator ${accelerator} \\
        ${args}
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    touch ${prefix}.h5ad
    touch ${prefix}.h5ad.run.json
    touch ${prefix}.log
    """
}
