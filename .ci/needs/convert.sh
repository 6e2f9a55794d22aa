# transformers and the ONNX exporter, for the test of `umekomi models convert`, and sentence-transformers, for that of
# `umekomi models check`. torch.sh follows; its second installation of torch changes nothing.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'torch==2.13.0+cpu' \
    onnx==1.23.2 onnxscript==0.7.2 transformers==5.24.0 sentence-transformers==6.2.0 ||
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
        --extra-index-url https://download.pytorch.org/whl/cpu 'torch==2.13.0+cpu' onnx==1.23.2 onnxscript==0.7.2 \
        transformers==5.24.0 sentence-transformers==6.2.0
