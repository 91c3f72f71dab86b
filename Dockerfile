# quickstep in a box: `docker build -t quickstep .`, then `docker run --rm -v "$PWD:/work" quickstep train DANCES -o model --backbone flow-hist`.
# For an NVIDIA card: `docker build --build-arg TORCH=cu130 -t quickstep:cuda .`, then `docker run --gpus all ...`.
FROM python:3.11-slim

# Which build of PyTorch: cpu, or that of a CUDA version (cu126, cu130 ...).
ARG TORCH=cpu
ARG EXTRAS=app,pose,search,serve

# OpenCV asks for libGL and glib.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/quickstep
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY quickstep ./quickstep
RUN pip install --no-cache-dir --constraint constraints.txt --index-url "https://download.pytorch.org/whl/${TORCH}" torch \
    && pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]"

# Nobody's files are written as root; what is computed and fetched is kept in one place that can be mounted.
RUN useradd --create-home quickstep && mkdir -p /work /cache && chown quickstep /work /cache
USER quickstep
ENV QUICKSTEP_CACHE=/cache/quickstep HF_HOME=/cache/huggingface
VOLUME /cache
WORKDIR /work
EXPOSE 8000 8501

ENTRYPOINT ["quickstep"]
CMD ["--help"]
