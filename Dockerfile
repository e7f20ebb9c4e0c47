# syntax=docker/dockerfile:1
# Everything that the server needs is inside, cloud models included (package `ukis-csmask`): it starts without a network.
ARG PYTHON=3.12-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv /opt/clearsky \
 && /opt/clearsky/bin/pip install --no-cache-dir --require-hashes --requirement requirements.lock
# Another build of the models' runtime, e.g. `onnxruntime-openvino==1.24.1`; builds exclude each other.
ARG RUNTIME=
RUN if [ -n "$RUNTIME" ]; then \
      /opt/clearsky/bin/pip uninstall --yes onnxruntime \
      && /opt/clearsky/bin/pip install --no-cache-dir --no-deps "$RUNTIME"; \
    fi
COPY pyproject.toml README.md LICENSE ./
COPY algorithms ./algorithms
COPY clearsky ./clearsky
COPY server ./server
RUN /opt/clearsky/bin/pip install --no-cache-dir --no-deps . \
 && /opt/clearsky/bin/clearsky models

FROM python:${PYTHON}
# rasterio's wheel loads libexpat from the system.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends libexpat1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 10001 clearsky
COPY --from=build /opt/clearsky /opt/clearsky
ENV PATH=/opt/clearsky/bin:$PATH MALLOC_ARENA_MAX=2 PYTHONUNBUFFERED=1
USER 10001
WORKDIR /home/clearsky
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=3s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["clearsky", "serve", "--host", "0.0.0.0", "--port", "8000"]
