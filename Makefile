# The work is in dev.py, so that a machine without make needs nothing else.
PYTHON ?= python3

.PHONY: setup demo test check
setup demo test check:
	$(PYTHON) dev.py $@
