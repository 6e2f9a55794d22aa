# The explorer's page, and a browser to test it in.
if ! command -v chromium >/dev/null; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check playwright==1.65.2
make web
