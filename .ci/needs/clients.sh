# The API's clients, each in an environment of its own: their dependencies are many, and none is a dependency of Umekomi.
python3 -m venv build/clients
build/clients/bin/python -m pip install --quiet --disable-pip-version-check -r tests/clients/requirements.txt
export UMEKOMI_TEST_CLIENTS_PYTHON="$PWD/build/clients/bin/python"

python3 -m venv build/openai028
build/openai028/bin/python -m pip install --quiet --disable-pip-version-check openai==0.28.1 numpy
export UMEKOMI_TEST_OPENAI028_PYTHON="$PWD/build/openai028/bin/python"

mkdir -p build/node
(cd build/node && npm install --silent --no-audit --no-fund --no-save openai@6.49.0)
export UMEKOMI_TEST_NODE_FOLDER="$PWD/build/node"
