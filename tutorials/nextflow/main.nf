#!/usr/bin/env nextflow
// From counts to a report: every .h5ad file of a folder is fitted and gets a page of its own.
//
//   nextflow run tutorials/nextflow --counts 'counts/*.h5ad' --outdir results -profile path

include { BASISVAESCVI_FIT    } from '../../wrappers/nf-core/modules/basisvae-scvi/basisvaescvi/fit'
include { BASISVAESCVI_REPORT } from '../../wrappers/nf-core/modules/basisvae-scvi/basisvaescvi/report'

workflow {
    counts = channel
        .fromPath(params.counts, checkIfExists: true)
        .map { file -> [[id: file.baseName], file] }

    BASISVAESCVI_FIT(counts)
    BASISVAESCVI_REPORT(BASISVAESCVI_FIT.out.h5ad)

    channel
        .topic('versions')
        .unique()
        .map { process, tool, version -> "${process.tokenize(':').last()}\t${tool}\t${version}" }
        .collectFile(name: 'versions.tsv', storeDir: params.outdir, newLine: true, sort: true)
}
