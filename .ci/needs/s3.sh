# moto's server, which stands in for S3 in tests/test_s3.py.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'moto[server]==5.2.5'
