# Two commands are the whole start: `make run`, then `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
COLCON := .colcon
EXTRAS := train,deploy,ros,dev

SOURCE ?= street
BUNDLE ?=
SECONDS ?= 12
OUT ?= out
WIDTH ?= 0
JOBS ?= 2

.PHONY: setup run test colcon lint format clean
setup: $(STAMP)

# Reinstalled only when what is to be installed changes, so that every later call is quick.
$(STAMP): pyproject.toml constraints.txt tests/tensorrt-rtx.txt ros2_ws/src/densemtl/setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable ".[$(EXTRAS)]" --editable ros2_ws/src/densemtl
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement tests/tensorrt-rtx.txt
	@touch $@

run: setup
	$(BIN)/python -m densemtl_ros.demo --source "$(SOURCE)" --seconds $(SECONDS) --out "$(OUT)" --width $(WIDTH) $(if $(BUNDLE),--bundle "$(BUNDLE)")

# Real cameras, nodes and DDS keep time, and have the machine to themselves; everything else shares it.
test: setup
	$(BIN)/python -m pytest -m ros || [ $$? = 5 ]  # 5: no rclpy here, none collected
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not ros" --numprocesses $(JOBS) --dist worksteal

# The ROS package built as on a robot, into ros2_ws/install; COLCON_FLAGS=--symlink-install to edit it in place.
colcon: $(COLCON)/.installed
	cd ros2_ws && ../$(COLCON)/bin/colcon build $(COLCON_FLAGS)

$(COLCON)/.installed: tests/colcon.txt
	$(PYTHON) -m venv $(COLCON)
	$(COLCON)/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/colcon.txt
	@touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf out build *.egg-info ros2_ws/build ros2_ws/install ros2_ws/log
