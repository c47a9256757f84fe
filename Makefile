# Two commands on a fresh machine, each in a virtual environment of its own:
#   make demo    the main job on the example reviews, with the model in the package
#   make test    every check that CI runs
PYTHON ?= python3
CHECKED = beam_bert pipelines tests benchmarks examples terraform tools

.PHONY: demo test resolve pins clean

demo: .venv/demo/installed
	.venv/demo/bin/python -m pipelines.sentiment --input examples/reviews.csv --keep_text --id_column id --output out/demo --overwrite
	.venv/demo/bin/python examples/show_output.py out/demo

test: .venv/test/installed
	.venv/test/bin/ruff check $(CHECKED)
	.venv/test/bin/ruff format --check $(CHECKED)
	.venv/test/bin/mypy
	.venv/test/bin/lint-imports
	.venv/test/bin/python -m pytest --numprocesses 2

# Whether a resolver finds, for each Python that is promised, all extras and Beam's own together.
resolve: .venv/resolve/installed
	for python in 3.10 3.11 3.12 3.13; do \
	    .venv/resolve/bin/uv pip compile --quiet --python-version $$python --no-annotate \
	        --python-platform x86_64-unknown-linux-gnu --constraint constraints.txt --all-extras \
	        pyproject.toml constraints.in >/dev/null || exit 1; \
	done

.venv/resolve/installed:
	$(PYTHON) -m venv .venv/resolve
	.venv/resolve/bin/python -m pip install --quiet uv
	touch $@

.venv/demo/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv/demo
	.venv/demo/bin/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/test/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv/test
	.venv/test/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

# Needs uv. Without torch and what only it needs: those come from PyTorch's index (Dockerfile).
container.lock: pyproject.toml constraints.txt
	(head -3 $@; echo hatchling | uv pip compile pyproject.toml - --extra gcp --extra report \
	  --constraint constraints.txt --python-version 3.12 --python-platform x86_64-manylinux_2_28 --generate-hashes \
	  --no-header --no-annotate --no-emit-package torch --quiet \
	  | awk '/^[A-Za-z0-9]/ {keep = !/^(nvidia-|cuda-|triton==)/} keep') > $@.new && mv $@.new $@

# What only the network knows: the digests of the images, and the hashes of torch for one index.
# Commit what it writes; a build refuses to begin without.
TORCH_INDEX = https://download.pytorch.org/whl/cu126
pins: .venv/resolve/installed
	$(PYTHON) -m tools.pin_images
	(echo "# torch and its CUDA libraries from $(TORCH_INDEX), by hash. Made by: make pins"; echo torch \
	  | .venv/resolve/bin/uv pip compile - --constraint constraints.txt --python-version 3.12 \
	  --python-platform x86_64-manylinux_2_28 --generate-hashes --no-header --no-annotate --quiet \
	  --default-index $(TORCH_INDEX) --index https://pypi.org/simple --index-strategy unsafe-best-match) \
	  > torch.lock.new && mv torch.lock.new torch.lock

clean:
	rm -rf .venv out
