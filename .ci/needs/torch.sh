# torch, for the GPU's engine, which the tests run on the CPU too; its build for the CPU, for the usual one brings gigabytes of
# CUDA. First from where pip looks anyway, then from torch's own index.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'torch==2.13.0+cpu' ||
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
        --extra-index-url https://download.pytorch.org/whl/cpu 'torch==2.13.0+cpu'
