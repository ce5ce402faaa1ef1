# Airflow beside t1djax, each in an environment of its own: tasks call the interpreter in /opt/t1djax.
ARG BASE_IMAGE=docker.io/library/python
ARG BASE_DIGEST
FROM ${BASE_IMAGE}@${BASE_DIGEST} AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY t1djax t1djax
COPY examples/deployment/airflow/requirements.txt airflow.txt
RUN python -m venv /opt/airflow && python -m venv /opt/t1djax \
    && python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && wheel=$(echo /wheels/*.whl) \
    && /opt/t1djax/bin/python -m pip install --no-cache-dir --compile "${wheel}[mlflow]" "boto3>=1.40,<2" \
    && /opt/airflow/bin/python -m pip install --no-cache-dir --compile -r airflow.txt

FROM ${BASE_IMAGE}@${BASE_DIGEST}
COPY --from=build /opt/airflow /opt/airflow
COPY --from=build /opt/t1djax /opt/t1djax
COPY examples/deployment/airflow/dags /opt/dags
COPY examples/deployment/airflow/healthy /usr/local/bin/airflow-healthy
RUN useradd --uid 10001 --user-group --home-dir /app --create-home --shell /usr/sbin/nologin airflow \
    && chmod 755 /usr/local/bin/airflow-healthy \
    && install --directory --owner airflow --group airflow /results
ENV PATH=/opt/airflow/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    AIRFLOW_HOME=/app \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/dags \
    AIRFLOW__CORE__LOAD_EXAMPLES=false \
    T1DJAX_PYTHON=/opt/t1djax/bin/python \
    T1DJAX_RESULTS=/results
USER 10001:10001
WORKDIR /app
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=20s --start-period=120s --retries=5 \
    CMD ["airflow-healthy"]
ENTRYPOINT ["airflow"]
CMD ["standalone"]
