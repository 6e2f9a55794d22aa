# What reads our OpenAPI description and asks for all that it allows, and much that it does not.
python3 -m venv build/schemathesis
build/schemathesis/bin/python -m pip install --quiet --disable-pip-version-check -r tests/schemathesis.txt
export UMEKOMI_TEST_SCHEMATHESIS="$PWD/build/schemathesis/bin/schemathesis"
