# What a newcomer types. Each target is a script that says what it does; cmake
# and its presets are there for everything else (README.md).

.DEFAULT_GOAL := help
.PHONY: help deps build demo test torture style bench compare clean

help:
	@echo 'make demo     install what building needs, build, and show a backup of'
	@echo '              a folder, a tarball and a database, changed, verified and'
	@echo '              restored'
	@echo 'make test     install what tests need, build, and pass all tests, also'
	@echo '              under the sanitizers: some 40 minutes on two cores'
	@echo
	@echo 'make torture  TIME=60m [SEED=n]: kill the program, cut the power, let the'
	@echo '              disk fail or bits flip, at one system call after the other,'
	@echo '              and see that all is there'
	@echo
	@echo 'make deps     install what building needs (Debian 12; root or sudo)'
	@echo 'make build    deps, then build/release/bin/cairn'
	@echo 'make style    check formatting and names'
	@echo 'make bench    how fast the parts are'
	@echo 'make compare  cairn, restic and borg over the same 10 GiB'
	@echo 'make clean    remove build/'

deps:
	@scripts/install-deps.sh

build: deps
	@scripts/build.sh

demo: build
	@scripts/demo.sh

test:
	@scripts/test.sh

torture: build
	@scripts/torture.sh $(or $(TIME),60m) $(SEED)

style:
	@scripts/check-style.sh

bench:
	@scripts/install-deps.sh --test
	@scripts/build.sh all
	@for program in build/release/bin/*_benchmark; do \
	  [ ! -x "$$program" ] || "$$program" || exit 1; done

compare:
	@scripts/install-deps.sh --test
	@scripts/build.sh
	@benchmarks/compare

clean:
	rm -rf build
