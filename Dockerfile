# The image of docker-compose.yml: `headrace apply` as a one-shot, `headrace stream` as the worker. It holds headrace[all] and this deployment's
# definitions; where things live, and which clock they have, comes by HEADRACE_* variables.
#
# Built in two stages: what builds (pip, hatchling) stays in the first.
FROM python:3.11-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1

WORKDIR /build
RUN python -m venv --without-pip /opt/headrace

# The locked packages change seldom, so they are a layer of their own.
COPY requirements-run.lock ./
RUN python -m pip --python /opt/headrace/bin/python install --quiet --require-hashes -r requirements-run.lock

# The wheel is built by what the lock of all packages says, so that nothing comes from outside a lock.
COPY requirements.lock ./
RUN awk '/^[^ #]/ { keep = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/ } keep' requirements.lock > build.lock \
 && python -m pip install --quiet --require-hashes -r build.lock
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY src ./src
RUN python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . \
 && python -m pip --python /opt/headrace/bin/python install --quiet --no-deps dist/*.whl


FROM python:3.11-slim-bookworm

ENV PATH=/opt/headrace/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

# One fixed number, so that volumes belong to the same user wherever the image is built.
RUN useradd --uid 10001 --create-home headrace && install -d -o headrace -g headrace /app /app/.headrace

COPY --from=build /opt/headrace /opt/headrace

WORKDIR /app
RUN printf '[headrace]\n' > headrace.toml
COPY feature_repo ./feature_repo
COPY streams ./streams
COPY offline ./offline

USER 10001
VOLUME /app/.headrace

ENTRYPOINT ["headrace"]
CMD ["stream"]
