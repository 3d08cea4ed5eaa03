# Draft Thinker. GNU make; Debian 12, or an Ubuntu of its age, or newer.
#
#   make          build ./draft-thinker            make run      build it and start it
#   make test     build and run all tests          make lint     format, static analysis, include rules
#   make install  PREFIX and DESTDIR are honoured  make deps     install what building needs
#   make bench    what a request costs              make budget   the same in instructions, against a budget
#   make bench-cache  what a look-up among many questions takes
#   make soak     random clients, faults and reloads, for SOAK_SECONDS
#
# One set of rules builds every variant: V=release (default), asan, tsan, fuzz; each has a folder of
# its own under build/. A new file under src/, tests/unit/ or tests/fuzz/ needs no line here.

VERSION := 0.1.0
PREFIX  ?= /usr/local
DESTDIR ?=
V       ?= release
B       := build/$(V)
PYTHON  ?= /usr/bin/python3
FUZZ_SECONDS ?= 15
# What is only compiled is compiled with all processors; tests run part by part.
BUILD    = $(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

# ---------------------------------------------------------------------------- packages
DEPS_BUILD := gcc make pkg-config libc6-dev libevent-dev libcurl4-openssl-dev libjansson-dev \
              libssl-dev libyaml-dev ca-certificates
DEPS_TEST  := check python3 python3-pytest python3-pytest-xdist python3-venv openssl curl clang \
              libclang-rt-dev nodejs npm
DEPS_LINT  := clang-format clang-tidy cppcheck mandoc
DEPS_BENCH := python3 haproxy nginx valgrind
NEED := tests/tools/need

# ---------------------------------------------------------------------------- flags
LIBS := libevent libevent_openssl libcurl jansson libssl libcrypto yaml-0.1
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual \
        -Wwrite-strings -Wformat=2 -Wswitch-enum -Wvla -Wundef -Werror
HARDEN := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fPIE \
          -fno-delete-null-pointer-checks -ftrivial-auto-var-init=zero
LINK_HARDEN := -pie -Wl,-z,relro,-z,now

CC_release := gcc
CC_asan    := gcc
CC_tsan    := gcc
CC_fuzz    := clang
OPT_release := -O2 -g $(HARDEN)
OPT_asan := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
OPT_tsan := -O1 -g -fno-omit-frame-pointer -fsanitize=thread
OPT_fuzz := -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
LINK_release := $(LINK_HARDEN)
LINK_asan := -fsanitize=address,undefined
LINK_tsan := -fsanitize=thread
LINK_fuzz := -fsanitize=address,undefined

CC := $(CC_$(V))
CPPFLAGS += -Iinclude -D_GNU_SOURCE -DDT_VERSION='"$(VERSION)"'
CFLAGS   := -std=gnu11 $(OPT_$(V)) $(WARN) -pthread
LDFLAGS  := $(LINK_$(V)) -pthread
# The scanners are most of a draft's work.
build/release/src/wire/%.o: CFLAGS += -O3
# For what runs under ThreadSanitizer; the other variants ignore it.
export TSAN_OPTIONS := suppressions=$(abspath tests/tsan.supp) history_size=4
# Asked for lazily, since the packages may not be there yet when make starts.
LIB_CFLAGS = $(shell pkg-config --cflags $(LIBS))
LDLIBS     = $(shell pkg-config --libs $(LIBS)) -lm

# ---------------------------------------------------------------------------- files
SRC   := $(sort $(wildcard src/*/*.c))
OBJ   := $(SRC:%.c=$(B)/%.o)
MAIN  := $(B)/src/app/main.o
LIB   := $(B)/libdraftthinker.a
BIN   := $(B)/draft-thinker
UNIT  := $(patsubst tests/unit/%.c,$(B)/unit/%,$(sort $(wildcard tests/unit/*/test_*.c)))
FUZZ  := $(patsubst tests/fuzz/%.c,build/fuzz/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))

.PHONY: all built run test deps install uninstall clean lint fuzz unit http matrix soak test-unit test-http test-matrix test-asan test-tsan test-sdk format
.DELETE_ON_ERROR:

all: draft-thinker

draft-thinker: build/release/draft-thinker
	@ln -sf build/release/draft-thinker $@

build/release/draft-thinker: | build/deps-build

$(BIN): $(MAIN) $(LIB)
	@echo "link $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(LIB): $(filter-out $(MAIN),$(OBJ))
	@rm -f $@
	@ar rcs $@ $^

$(B)/%.o: %.c | build/deps-build
	@mkdir -p $(@D)
	@echo "cc   $@"
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(LIB_CFLAGS) -MMD -MP -c -o $@ $<

-include $(OBJ:.o=.d) $(UNIT:=.d) $(wildcard build/bench/*.d)

# ---------------------------------------------------------------------------- packages
deps: build/deps-build
build/deps-build: $(NEED)
	@$(NEED) $(DEPS_BUILD)
	@mkdir -p build && touch $@
build/deps-test: $(NEED)
	@$(NEED) $(DEPS_TEST)
	@mkdir -p build && touch $@
build/deps-lint: $(NEED)
	@$(NEED) $(DEPS_LINT) $(DEPS_TEST)
	@mkdir -p build && touch $@

build/deps-bench: $(NEED) tests/bench/install
	@tests/bench/install $(DEPS_BENCH)
	@mkdir -p build && touch $@

# ---------------------------------------------------------------------------- run
run: build/deps-build
	@$(BUILD) draft-thinker
	@tests/tools/run

# ---------------------------------------------------------------------------- tests
# Each part leaves its counts in build/results/, and the last line sums them up.
test: build/deps-test
	@rm -rf build/results
	@$(BUILD) draft-thinker
	@status=0; for part in test-unit test-http test-matrix test-asan fuzz test-sdk; do \
		$(MAKE) --no-print-directory $$part || status=1; done; \
	tests/tools/total build/results; exit $$status

test-unit: build/deps-test
	@$(BUILD) V=release built
	@$(MAKE) --no-print-directory V=release unit
test-http: build/deps-test
	@$(MAKE) --no-print-directory V=release http
test-matrix: build/deps-test
	@$(MAKE) --no-print-directory V=release matrix
test-asan: build/deps-test
	@$(BUILD) V=asan built
	@$(MAKE) --no-print-directory V=asan unit http matrix soak
test-tsan: build/deps-test
	@$(BUILD) V=tsan built
	@$(MAKE) --no-print-directory V=tsan unit http
	@$(MAKE) --no-print-directory V=tsan MATRIX_WORKERS=2 matrix soak

built: $(BIN) $(UNIT)
unit: $(UNIT)
	@tests/tools/unit build/results/unit-$(V) $(UNIT)

http: $(BIN) build/http/busy.so
	@DRAFT_THINKER=$(abspath $(BIN)) $(PYTHON) tests/tools/http build/results/http-$(V) $(HTTP_ARGS)

# Every way in which a model server can fail. All cells run at the same time, in one process.
matrix: export MATRIX_WORKERS ?= 1
matrix: $(BIN) build/matrix/names.so
	@DRAFT_THINKER=$(abspath $(BIN)) $(PYTHON) tests/tools/http build/results/matrix-$(V) -n0 tests/matrix $(MATRIX_ARGS)
# Random clients, faults and reloads. SOAK_SECONDS, SOAK_SEED: tests/soak/conftest.py; SOAK_CLIENTS: how many.
soak: $(BIN)
	@DRAFT_THINKER=$(abspath $(BIN)) $(PYTHON) tests/tools/http build/results/soak-$(V) -n0 tests/soak $(SOAK_ARGS)
# Not instrumented: they are loaded into the program under any variant.
build/matrix/names.so: tests/matrix/names.c
build/http/busy.so: tests/http/busy.c
build/matrix/names.so build/http/busy.so:
	@mkdir -p $(@D)
	@echo "cc   $@"
	@$(CC_release) -D_GNU_SOURCE -std=gnu11 -O2 $(WARN) -fPIC -shared -o $@ $< -ldl
docs/failures.md: $(addprefix tests/matrix/,document failures.txt cells.py outcomes.py)
	@$(PYTHON) -B tests/matrix/document >$@

$(B)/unit/%: tests/unit/%.c $(LIB)
	@mkdir -p $(@D)
	@echo "cc   $@"
	@$(CC) $(CPPFLAGS) -Itests/unit $(CFLAGS) $(LIB_CFLAGS) $(shell pkg-config --cflags check) -MMD -MP -MF $@.d \
		$(LDFLAGS) -o $@ $< $(LIB) $(LDLIBS) $(shell pkg-config --libs check)

test-sdk: draft-thinker build/deps-test
	@tests/sdk/run build/results/sdk

fuzz: build/deps-test
	@$(BUILD) V=fuzz fuzz-build
	@tests/tools/fuzz build/results/fuzz $(FUZZ_SECONDS) $(FUZZ)
.PHONY: fuzz-build
fuzz-build: $(FUZZ)
build/fuzz/fuzz_%: tests/fuzz/fuzz_%.c build/fuzz/libdraftthinker.a
	@echo "cc   $@"
	@clang $(CPPFLAGS) $(CFLAGS) $(LIB_CFLAGS) -fsanitize=fuzzer,address,undefined -o $@ $< \
		build/fuzz/libdraftthinker.a $(LDLIBS)

# ---------------------------------------------------------------------------- benchmark
# What a request costs, beside plain proxies; no figure makes it fail. BENCH_ARGS: see tests/bench/run --help.
BENCH := build/bench/upstream build/bench/load build/bench/score build/bench/turns.so
.PHONY: bench bench-smoke bench-cache budget
bench: draft-thinker build/deps-bench $(BENCH)
	@$(PYTHON) -B tests/bench/run $(BENCH_ARGS)
bench-smoke: draft-thinker build/deps-bench $(BENCH)
	@$(PYTHON) -B tests/bench/run --smoke $(BENCH_ARGS)
# Instructions a request against tests/bench/budget.txt; UPDATE=1 writes that file.
budget: draft-thinker build/deps-bench $(BENCH)
	@$(PYTHON) -B tests/bench/budget $(if $(UPDATE),--update)
docs/performance.md: tests/bench/document build/bench/results.json
	@$(PYTHON) -B tests/bench/document >$@
build/bench/results.json:
	@$(MAKE) --no-print-directory bench
# What a look-up among many questions takes, and finds. BENCH_ARGS: see the head of tests/bench/index.c.
bench-cache: draft-thinker build/deps-bench $(BENCH) build/bench/index
	@build/bench/index $(BENCH_ARGS)
	@$(PYTHON) -B tests/bench/run --only cache

build/bench/upstream: $(addprefix tests/bench/,upstream.c answers.c answers.h)
build/bench/load: $(addprefix tests/bench/,load.c reply.c samples.c reply.h samples.h answers.h)
build/bench/score: $(addprefix tests/bench/,score.c answers.c answers.h) build/release/libdraftthinker.a
build/bench/score: BENCH_LINK := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
build/bench/turns.so: tests/bench/turns.c
build/bench/turns.so: BENCH_LINK := -shared -fPIC
build/bench/index: tests/bench/index.c build/release/libdraftthinker.a
$(BENCH) build/bench/index: | build/deps-build
	@mkdir -p $(@D)
	@echo "cc   $@"
	@$(CC_release) $(CPPFLAGS) -std=gnu11 $(OPT_release) $(WARN) $(LINK_release) $(BENCH_LINK) -o $@ $(filter %.c %.a,$^) -lm

# ---------------------------------------------------------------------------- lint
lint: build/deps-build build/deps-lint
	@tests/tools/lint $(CPPFLAGS) $(LIB_CFLAGS)

format:
	@clang-format -i $(SRC) $(wildcard include/*/*.h tests/unit/*.h tests/unit/*/*.[ch] tests/fuzz/*.c tests/bench/*.[ch])

# ---------------------------------------------------------------------------- install
EXAMPLES := $(filter-out config/draft-thinker.yaml,$(sort $(wildcard config/*.yaml)))
install: draft-thinker
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man5 \
		$(DESTDIR)$(PREFIX)/share/doc/draft-thinker/examples $(DESTDIR)$(PREFIX)/lib/systemd/system
	install -m 755 build/release/draft-thinker $(DESTDIR)$(PREFIX)/bin/draft-thinker
	install -m 644 docs/draft-thinker.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 docs/draft-thinker.yaml.5 $(DESTDIR)$(PREFIX)/share/man/man5/
	install -m 644 config/draft-thinker.yaml README.md LICENSE $(DESTDIR)$(PREFIX)/share/doc/draft-thinker/
	install -m 644 $(EXAMPLES) $(DESTDIR)$(PREFIX)/share/doc/draft-thinker/examples/
	sed 's|@PREFIX@|$(PREFIX)|g' config/draft-thinker.service \
		> $(DESTDIR)$(PREFIX)/lib/systemd/system/draft-thinker.service

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/draft-thinker $(DESTDIR)$(PREFIX)/share/man/man1/draft-thinker.1 \
		$(DESTDIR)$(PREFIX)/share/man/man5/draft-thinker.yaml.5 \
		$(DESTDIR)$(PREFIX)/lib/systemd/system/draft-thinker.service
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/draft-thinker

clean:
	rm -rf build draft-thinker
