# The command line in a container, for CPU or CUDA by one argument:
#
#   docker build --tag basisvae-scvi .
#   docker build --tag basisvae-scvi:cuda --build-arg TORCH_BACKEND=cu126 .
#   docker run --rm --user "$(id -u)" --volume "$PWD:/data" basisvae-scvi fit counts.h5ad -o fitted.h5ad
#
# TORCH_BACKEND is a name that `uv pip install --torch-backend` knows. Wheels of torch bring their
# CUDA libraries, so both kinds stand on the same plain image; the host needs the driver alone
# (docker run --gpus all). Untested until the job "recipe" of the release workflow has built it.
FROM python:3.12-slim

ARG TORCH_BACKEND=cpu

COPY . /src
# Bytecode is written here and now: in a container that is thrown away after one command, each would
# otherwise begin by compiling every library that it imports.
RUN pip install --no-cache-dir uv \
    && uv pip install --system --no-cache --compile-bytecode --torch-backend "$TORCH_BACKEND" /src \
    && pip uninstall --yes uv \
    && rm -rf /src

# Any user may run it: what is compiled or cached goes where everybody can write.
ENV NUMBA_CACHE_DIR=/tmp/numba \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /data
ENTRYPOINT ["basisvae-scvi"]
CMD ["--help"]
