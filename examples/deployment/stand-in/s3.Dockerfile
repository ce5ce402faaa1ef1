# An S3 server that keeps everything in memory (moto). It asks for no password: for trials only.
ARG BASE_IMAGE=localhost/python
ARG BASE_DIGEST
FROM ${BASE_IMAGE}@${BASE_DIGEST}
RUN python -m venv /opt/moto \
    && /opt/moto/bin/python -m pip install --no-cache-dir --compile "moto[server]>=5.1,<6" "boto3>=1.40,<2"
ENV PATH=/opt/moto/bin:$PATH
USER 10001:10001
ENTRYPOINT ["moto_server", "--host", "0.0.0.0", "--port", "9000"]
