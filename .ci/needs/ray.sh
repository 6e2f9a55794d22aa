# Ray, for the test of a cluster whose node dies.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'ray[data]==2.60.0'
