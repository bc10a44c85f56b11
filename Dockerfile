# The image of every pod: Ray's own, with this project installed.
#
#   docker build -t procon-sweeps:gpu .
#   docker build -t procon-sweeps:cpu --build-arg DEVICE=cpu .
#
# RAY must be the version that pyproject.toml allows, and rayVersion in kuberay/.
ARG RAY=2.60.0
ARG DEVICE=gpu
FROM rayproject/ray:${RAY}-py311-${DEVICE}

WORKDIR /home/ray/procon-sweeps
COPY --chown=ray:users pyproject.toml README.md LICENSE ./
COPY --chown=ray:users orchestrator/ orchestrator/
COPY --chown=ray:users sweeps/ sweeps/
COPY --chown=ray:users training/ training/
RUN pip install --no-cache-dir '.[buckets]' && procon --version
WORKDIR /home/ray
