# A browser to test the explorer's page in, and fonts for the tests of pictures in many scripts.
packages="chromium fonts-dejavu-core fonts-noto-cjk fonts-noto-core fonts-symbola"
# shellcheck disable=SC2086
dpkg -s $packages >/dev/null 2>&1 || {
    apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages >/dev/null
}
.venv/bin/python -m pip install --quiet --disable-pip-version-check playwright==1.65.2

# The committed build of the page equals a new build of web/, byte for byte.
rm -rf build/web-committed
cp -r src/umekomi/explore/web build/web-committed
make web
diff -r build/web-committed src/umekomi/explore/web || {
    echo "The committed page is not the build of web/. Run make web and commit src/umekomi/explore/web."
    exit 1
}
