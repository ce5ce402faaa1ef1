# MLflow server with authentication, for PostgreSQL and S3. Build from the root of the repository.
ARG BASE_IMAGE=docker.io/library/python
ARG BASE_DIGEST
FROM ${BASE_IMAGE}@${BASE_DIGEST} AS build
RUN python -m venv /opt/mlflow \
    && /opt/mlflow/bin/python -m pip install --no-cache-dir --compile \
       "mlflow[auth]==3.17.2" "psycopg2-binary>=2.9.10,<3" "boto3>=1.40,<2"

FROM ${BASE_IMAGE}@${BASE_DIGEST}
COPY --from=build /opt/mlflow /opt/mlflow
COPY examples/deployment/mlflow-start examples/deployment/mlflow-users /usr/local/bin/
RUN useradd --uid 10001 --user-group --home-dir /app --create-home --shell /usr/sbin/nologin mlflow \
    && chmod 755 /usr/local/bin/mlflow-start /usr/local/bin/mlflow-users
ENV PATH=/opt/mlflow/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MLFLOW_DISABLE_TELEMETRY=true
USER 10001:10001
WORKDIR /app
EXPOSE 5000
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=5 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:5000/health', timeout=5)"]
ENTRYPOINT ["mlflow-start"]
