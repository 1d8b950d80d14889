# make demo   the main job: a rendered sequence through the real ROS 2 nodes
# make test   linters, types and tests; what CI runs

# ROS 2 Jazzy as wheels: CPython 3.10 to 3.13, x86-64 Linux
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
ROS := ros-rclpy[fastrtps]==7.1.6 $(addsuffix ==5.3.6,ros-sensor-msgs ros-nav-msgs \
	ros-geometry-msgs ros-visualization-msgs ros-diagnostic-msgs ros-std-srvs)
TORCH_CPU := torch==2.13.0+cpu
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check

.PHONY: demo test lint clean

demo: $(VENV)/demo
	$(BIN)/alike demo --output output/demo

test: lint
	$(BIN)/python -m pytest

lint: $(VENV)/test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

$(VENV)/demo: setup.py Makefile
	@test -n "$(PYTHON)" || { echo "Python 3.10 to 3.13 is needed: install one, or make PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "python -m venv failed: on Debian and Ubuntu, apt install python3-venv"; exit 1; }
	@echo "installing into $(VENV) (about 1 GB with ROS 2, a minute or two)"
	@$(PIP) --upgrade pip setuptools
	@$(PIP) -e '.[standalone]' '$(firstword $(ROS))' $(wordlist 2,99,$(ROS))
	@touch $@

# torch's plain wheel is the CUDA build, gigabytes of it: the CPU build where there is one
$(VENV)/test: $(VENV)/demo
	@echo "installing torch and the test tools into $(VENV)"
	@$(PIP) '$(TORCH_CPU)' || $(PIP) torch
	@$(PIP) -e '.[test,train]'
	@touch $@

clean:
	rm -rf $(VENV) output build install log
