# The page on a GPU Space, or anywhere with the NVIDIA container toolkit; without a GPU it trains
# on the CPU. CUDA comes with torch's own wheels: the image needs Python and the driver's mount.
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 user
USER user
ENV HOME=/home/user \
    PATH=/home/user/.local/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    # Without it gradio mocks sign-in and takes every visitor for the operator.
    SYSTEM=spaces \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    HF_UPDATE_DOWNLOAD_COUNTS=0
WORKDIR /home/user/app

# Packages first: a change of the code does not fetch them again.
COPY --chown=user requirements.txt .
RUN pip install --user -r requirements.txt
COPY --chown=user app.py README.md LICENSE pyproject.toml ./
COPY --chown=user configs configs
COPY --chown=user memshield memshield

EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/', timeout=5)"]
CMD ["python", "app.py"]
