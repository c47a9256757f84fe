# One image for everything: Dataflow's template launcher and workers (target dataflow), and any other
# machine (target job, the default: not root, no Beam boot program).
#
#   docker build --target dataflow -t beam-bert .                                       CUDA 12.6
#   docker build --target dataflow -t beam-bert --build-arg BASE=ubuntu:24.04 \
#     --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .                    CPU
#                                       (after: make pins TORCH_INDEX=https://download.pytorch.org/whl/cpu)
#   docker build … --build-context model=DIR .       bakes DIR/<name>/config.json … in: --model <name>
#
# Python 3.12 here, in the SDK image and in the launcher image: a job pickled by another minor version
# fails on the workers with "unknown opcode". The Beam version below is that of constraints.txt.
#
# CUDA 12 and not 13: Dataflow installs the driver, and CUDA 13 needs a newer one (580) than every
# machine gets. PyTorch's wheel brings the CUDA libraries, so the small "base" image is enough.
# By digest, which a moved tag does not change; tag and digest are those of 12.6.3-base-ubuntu24.04.
ARG BASE=nvidia/cuda:12.6.3-base-ubuntu24.04@sha256:c87e78933f4c16e3272123bf2f75537306596d0fbaa395a29696a22786e5ee0e
# `make pins` puts the others' digests here and the hashes of torch for an index into torch.lock: they
# are known to the network alone, and cloudbuild.yaml builds nothing without them.
ARG BEAM_SDK=apache/beam_python3.12_sdk:2.77.0
ARG LAUNCHER=gcr.io/dataflow-templates-base/python312-template-launcher-base:flex_templates_base_image_release_20260112_RC00

#checkov:skip=CKV_DOCKER_7:every tag is pinned, by the arguments above; scratch has none
FROM ${BEAM_SDK} AS beam
FROM ${LAUNCHER} AS launcher
# Empty, unless --build-context gives a folder of models under this name.
FROM scratch AS model

FROM ${BASE} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cu126
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# Ubuntu's mirrors drop old versions, so a pinned one would stop building; the release is pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3.12 python3.12-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY pyproject.toml hatch_build.py README.md LICENSE container.lock torch.lock ./
# By hash, whatever an index serves; some of Beam's dependencies come as pure Python sources, and nothing
# of it needs a compiler. torch comes from an index of its own, for which its hashes were asked for.
RUN python3.12 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --require-hashes --no-deps --requirement container.lock \
    && /opt/venv/bin/pip install --no-cache-dir --require-hashes --no-deps --requirement torch.lock \
        --index-url "${TORCH_INDEX}" --extra-index-url https://pypi.org/simple
COPY beam_bert beam_bert
COPY pipelines pipelines
# [report] draws the pages beside a run's manifest and the gate's evaluation, for people.
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation --no-index ".[gcp,report]" \
    && /opt/venv/bin/pip check
COPY --from=model / /opt/venv/lib/python3.12/site-packages/beam_bert/models/embedded/

# No compiler, no headers, no package lists from here on.
FROM ${BASE} AS runtime
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3.12 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 beam
COPY --from=build /opt/venv /opt/venv
# Beam would make an environment of its own otherwise, without what is installed here.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 \
    HF_HUB_DISABLE_TELEMETRY=1
HEALTHCHECK NONE

# Dataflow chooses the user that its containers run as and does not support another one, so this stage
# names none (docs/threat-model.md says what that means).
FROM runtime AS dataflow
COPY --from=beam /opt/apache/beam /opt/apache/beam
COPY --from=launcher /opt/google/dataflow/python_template_launcher /opt/google/dataflow/python_template_launcher
ENV FLEX_TEMPLATE_PYTHON_PY_FILE=/opt/venv/lib/python3.12/site-packages/pipelines/flex_template.py
ENTRYPOINT ["/opt/apache/beam/boot"]

FROM runtime AS job
USER 10001
WORKDIR /home/beam
ENTRYPOINT ["python", "-m"]
CMD ["pipelines.classify", "--help"]
