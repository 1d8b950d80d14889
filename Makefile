# make demo          the main job: a rendered sequence through the real ROS 2 nodes
# make test          linters, types and tests, on ROS 2 Jazzy
# make test-kilted   the tests that touch ROS, on ROS 2 Kilted, in a venv of its own
# make test-matrix   the tests without ROS and torch, for NumPy 1 and 2 with OpenCV 4 and 5

# ROS 2 Jazzy as wheels: CPython 3.10 to 3.14, x86-64 Linux
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null \
	&& echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
ROS := ros-rclpy[fastrtps]==7.1.6 $(addsuffix ==5.3.6,ros-sensor-msgs ros-nav-msgs \
	ros-geometry-msgs ros-visualization-msgs ros-diagnostic-msgs ros-std-srvs)
KILTED := .venv-kilted
ROS_KILTED := ros-rclpy[fastrtps]==9.1.2 $(addsuffix ==5.5.1,ros-sensor-msgs ros-nav-msgs \
	ros-geometry-msgs ros-visualization-msgs ros-diagnostic-msgs ros-std-srvs)
# OpenCV 5 needs NumPy 2
MATRIX := numpy1-opencv4 numpy2-opencv4 numpy2-opencv5
UNIT_TESTS := test/data test/odometry test/backends $(wildcard test/test_*.py)
TORCH_CPU := torch==2.13.0+cpu
INSTALL := -m pip install -qq --disable-pip-version-check
PIP := $(BIN)/python $(INSTALL)

.PHONY: demo test test-kilted test-matrix $(addprefix test-,$(MATRIX)) lint clean

demo: $(VENV)/demo
	$(BIN)/alike demo --output output/demo

# two at once; those that touch ROS keep to one process, where each has a domain of its own
test: lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup

lint: $(VENV)/test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

test-kilted: $(KILTED)/test
	$(KILTED)/bin/python -m pytest test/nodes

test-matrix: $(addprefix test-,$(MATRIX))

$(addprefix test-,$(MATRIX)): test-%: .venv-%/test
	.venv-$*/bin/python -m pytest $(UNIT_TESTS)

$(VENV)/demo: setup.py Makefile
	@test -n "$(PYTHON)" || { echo "Python 3.10 to 3.14 is needed: install one, or make PYTHON=..."; exit 1; }
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

# the distributions' wheels cannot be in one venv
$(KILTED)/test: setup.py Makefile
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	@echo "installing ROS 2 Kilted into $(@D)"
	@$(@D)/bin/python $(INSTALL) --upgrade pip setuptools
	@$(@D)/bin/python $(INSTALL) -e '.[standalone]' pytest '$(firstword $(ROS_KILTED))' \
		$(wordlist 2,99,$(ROS_KILTED))
	@touch $@

.venv-numpy%/test: setup.py Makefile
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	@echo "installing into $(@D)"
	@$(@D)/bin/python $(INSTALL) --upgrade pip setuptools
	@$(@D)/bin/python $(INSTALL) -e '.[standalone]' onnx pytest \
		'numpy==$(firstword $(subst -, ,$*)).*' \
		'opencv-python-headless==$(lastword $(subst opencv, ,$*)).*'
	@touch $@

clean:
	rm -rf $(VENV) $(KILTED) $(addprefix .venv-,$(MATRIX)) output build install log
