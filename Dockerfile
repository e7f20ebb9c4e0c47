FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY algorithms ./algorithms
COPY server ./server
RUN python -m venv /opt/clearsky \
 && /opt/clearsky/bin/pip install --no-cache-dir --require-hashes --requirement requirements.lock \
 && /opt/clearsky/bin/pip install --no-cache-dir --no-deps .

FROM python:3.12-slim
# rasterio's wheel loads libexpat from the system.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libexpat1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 10001 clearsky
COPY --from=build /opt/clearsky /opt/clearsky
ENV PATH=/opt/clearsky/bin:$PATH MALLOC_ARENA_MAX=2 PYTHONUNBUFFERED=1
USER clearsky
WORKDIR /home/clearsky
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=3s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["clearsky", "serve", "--host", "0.0.0.0", "--port", "8000"]
