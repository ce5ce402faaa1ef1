# Training image. Build from the root of the repository:
#   docker build -f examples/deployment/train.Dockerfile --build-arg BASE_DIGEST=sha256:... -t t1djax/train .
#   docker build -f examples/deployment/train.Dockerfile --build-arg VARIANT=cuda --build-arg BASE_DIGEST=sha256:... ...
# The wheels of `jax[cuda13]` bring CUDA with them, so both variants stand on one base; the driver is the host's.
ARG BASE_IMAGE=docker.io/library/python
ARG BASE_DIGEST

FROM ${BASE_IMAGE}@${BASE_DIGEST} AS build
ARG VARIANT=cpu
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY t1djax t1djax
RUN python -m venv /opt/t1djax \
    && python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && extras=mlflow && if [ "$VARIANT" = cuda ]; then extras=mlflow,cuda; fi \
    && wheel=$(echo /wheels/*.whl) \
    && /opt/t1djax/bin/python -m pip install --no-cache-dir --compile "${wheel}[$extras]" "boto3>=1.40,<2"

FROM ${BASE_IMAGE}@${BASE_DIGEST}
LABEL org.opencontainers.image.title="t1djax training" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/t1djax /opt/t1djax
RUN useradd --uid 10001 --user-group --home-dir /app --create-home --shell /usr/sbin/nologin t1djax
ENV PATH=/opt/t1djax/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    MLFLOW_DISABLE_TELEMETRY=true
USER 10001:10001
WORKDIR /app
HEALTHCHECK --interval=60s --timeout=30s --start-period=30s --retries=3 CMD ["t1djax", "--version"]
ENTRYPOINT ["t1djax"]
CMD ["--help"]
