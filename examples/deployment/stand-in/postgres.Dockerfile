# Debian's PostgreSQL with the promises of the official image that compose.yaml relies on.
ARG BASE_IMAGE=localhost/python
ARG BASE_DIGEST
FROM ${BASE_IMAGE}@${BASE_DIGEST}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql \
    && rm -rf /var/lib/apt/lists/* /var/lib/postgresql/* \
    && ln -s /usr/lib/postgresql/*/bin/* /usr/local/bin/ \
    && install --directory --owner postgres --group postgres --mode 700 /var/lib/postgresql/data
COPY postgres-start /usr/local/bin/postgres-start
ENTRYPOINT ["bash", "/usr/local/bin/postgres-start"]
