# The image of docker-compose.yml: `headrace apply` as a one-shot, `headrace stream` as the worker.
FROM python:3.11-slim-bookworm

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1

WORKDIR /app

# The locked packages change seldom, so they are a layer of their own. The lock holds every extra: the image is the one that was tested.
COPY requirements.lock ./
RUN pip install --quiet --require-hashes -r requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --quiet --no-deps --no-build-isolation .

COPY headrace.toml ./
COPY feature_repo ./feature_repo
COPY streams ./streams
COPY offline ./offline

RUN useradd --create-home headrace && mkdir -p /app/.headrace && chown -R headrace /app
USER headrace
VOLUME /app/.headrace

ENTRYPOINT ["headrace"]
CMD ["stream"]
