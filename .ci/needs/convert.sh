# transformers and the ONNX exporter, for the test of `umekomi models convert`; torch is there already (torch.sh follows, and a
# second installation changes nothing).
.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'torch==2.13.0+cpu' \
    onnx==1.23.2 onnxscript==0.7.2 transformers==5.24.0 ||
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
        --extra-index-url https://download.pytorch.org/whl/cpu 'torch==2.13.0+cpu' onnx==1.23.2 onnxscript==0.7.2 \
        transformers==5.24.0
