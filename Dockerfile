# Two images from one file:
#   docker build --target consumer -t fleetgauge .           small: the engine without Airflow
#   docker build --target airflow  -t fleetgauge-airflow .   the same engine inside of the official Airflow image
ARG PYTHON_VERSION=3.13.9
ARG AIRFLOW_VERSION=3.3.2

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
# Without src/fleetlab: the laboratory never ships.
COPY src/fleetgauge ./src/fleetgauge
RUN pip wheel --no-deps --wheel-dir /wheels . \
    && python -m venv /opt/venv \
    && /opt/venv/bin/pip install --constraint constraints.txt /wheels/*.whl \
    && rm -f /opt/venv/bin/fleetlab

FROM apache/airflow:${AIRFLOW_VERSION}-python3.13 AS airflow
ARG AIRFLOW_VERSION
COPY --from=build /wheels /tmp/wheels
COPY constraints.txt /tmp/constraints.txt
# The versions that the tests ran with; naming Airflow keeps pip from changing it.
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt "apache-airflow==${AIRFLOW_VERSION}" /tmp/wheels/*.whl
COPY --chown=airflow:0 schemas /opt/fleetgauge/schemas
COPY --chown=airflow:0 consumers /opt/fleetgauge/consumers
COPY --chown=airflow:0 sql /opt/fleetgauge/sql
COPY --chown=airflow:0 dags /opt/fleetgauge/dags
ENV FLEETGAUGE_CONTENT=/opt/fleetgauge AIRFLOW__CORE__DAGS_FOLDER=/opt/fleetgauge/dags

FROM python:${PYTHON_VERSION}-slim-bookworm AS consumer
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin fleetgauge
COPY --from=build /opt/venv /opt/venv
COPY schemas /opt/fleetgauge/schemas
COPY consumers /opt/fleetgauge/consumers
COPY sql /opt/fleetgauge/sql
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 FLEETGAUGE_CONTENT=/opt/fleetgauge
WORKDIR /opt/fleetgauge
USER 10001:10001
EXPOSE 9400
ENTRYPOINT ["fleetgauge"]
CMD ["--help"]
