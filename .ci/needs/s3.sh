# moto's server, which stands in for S3 in tests/pipeline/test_s3.py; in an environment of its own, for beside ours pip looks for minutes
# for versions that suit both.
python3 -m venv build/moto
build/moto/bin/python -m pip install --quiet --disable-pip-version-check 'moto[s3]==5.2.5' flask flask-cors
export UMEKOMI_TEST_MOTO_PYTHON="$PWD/build/moto/bin/python"
