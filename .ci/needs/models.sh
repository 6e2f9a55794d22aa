# The files of every model, from the sources that the catalogue names.
.venv/bin/umekomi models pull --all
