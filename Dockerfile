# Three images from one file, none with the laboratory, which is a distribution of its own:
#   docker build --target consumer -t fleetgauge .           small: what reads Kafka and writes Elasticsearch
#   docker build --target rollup   -t fleetgauge-rollup .    the whole command line: migrate, exporter, doctor, backfill …
#   docker build --target airflow  -t fleetgauge-airflow .   the same inside of the official Airflow image, with the DAGs
ARG PYTHON_VERSION=3.13.9
ARG AIRFLOW_VERSION=3.3.2

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src/fleetgauge ./src/fleetgauge
RUN pip wheel --no-deps --wheel-dir /wheels . \
    && python -m venv /opt/venv \
    && /opt/venv/bin/pip install --constraint constraints.txt /wheels/*.whl

FROM build AS build-rollup
RUN /opt/venv/bin/pip install --constraint constraints.txt "fleetgauge[rollup] @ file://$(ls /wheels/*.whl)"

FROM apache/airflow:${AIRFLOW_VERSION}-python3.13 AS airflow
ARG AIRFLOW_VERSION
COPY --from=build /wheels /tmp/wheels
COPY constraints.txt /tmp/constraints.txt
# The versions that the tests ran with; naming Airflow keeps pip from changing it.
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt "apache-airflow==${AIRFLOW_VERSION}" \
    "fleetgauge[rollup] @ file://$(ls /tmp/wheels/*.whl)"
COPY --chown=airflow:0 schemas /opt/fleetgauge/schemas
COPY --chown=airflow:0 consumers /opt/fleetgauge/consumers
COPY --chown=airflow:0 sql /opt/fleetgauge/sql
COPY --chown=airflow:0 dags /opt/fleetgauge/dags
ENV FLEETGAUGE_CONTENT=/opt/fleetgauge AIRFLOW__CORE__DAGS_FOLDER=/opt/fleetgauge/dags

FROM python:${PYTHON_VERSION}-slim-bookworm AS base
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin fleetgauge
COPY schemas /opt/fleetgauge/schemas
COPY consumers /opt/fleetgauge/consumers
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 FLEETGAUGE_CONTENT=/opt/fleetgauge
WORKDIR /opt/fleetgauge
USER 10001:10001
ENTRYPOINT ["fleetgauge"]
CMD ["--help"]

FROM base AS rollup
COPY --from=build-rollup /opt/venv /opt/venv
COPY sql /opt/fleetgauge/sql
EXPOSE 9187

# The last one, so it is what a build without --target makes.
FROM base AS consumer
COPY --from=build /opt/venv /opt/venv
EXPOSE 9400
