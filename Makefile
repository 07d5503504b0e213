# anneal: make help lists what there is.
CC      ?= gcc
BUILD   ?= build
OPT     ?= -O2 -g
SAN     ?=
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wconversion -Werror
PKGS    := msgpack libsodium libxxhash liblz4 libzstd libcrypto
PACKAGES := gcc make pkg-config libmsgpack-dev libsodium-dev libxxhash-dev liblz4-dev libzstd-dev libssl-dev libcurl4-openssl-dev libcmocka-dev libjemalloc-dev \
            libjansson-dev libc6-dev iproute2 openssl python3 python3-pytest python3-redis redis-server redis-tools
PYTHON  := /usr/bin/python3
PREFIX  ?= /usr/local
comma   := ,
# make V=1 shows whole commands.
V       ?=
JOBS    ?= $(shell nproc)
run      = $(if $(V),,@echo "  $(1)";)
SEEDS   ?= 1000
OPS     ?= 1000

ifneq ($(SAN),)
BUILD   := build/$(SAN)
SANFLAGS := -fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer -DLOCKS_CHECKED
endif

# Only the Maelstrom node and the inspector speak JSON, only object stores HTTP.
JSON_LIBS = $(shell pkg-config --libs jansson 2>/dev/null)
CURL_LIBS = $(shell pkg-config --libs libcurl 2>/dev/null)

PKG_CFLAGS = $(patsubst -I%,-isystem %,$(shell pkg-config --cflags $(PKGS) libcurl 2>/dev/null))
CFLAGS  = -std=gnu17 $(OPT) $(WARN) $(SANFLAGS) -I. -MMD -MP -pthread -fPIE
LDFLAGS = $(SANFLAGS) -pthread
# jemalloc has no headers between pieces and closer sizes than libc's malloc; sanitizers bring their own.
MALLOC  := $(if $(SAN),,-ljemalloc)
LDLIBS  = $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm $(MALLOC)

# nng >= 1.10, linked statically: from NNG's prefix if test/deps-nng.sh made one, else the system's.
NNG     := build/nng
NNG_CFLAGS = $(if $(wildcard $(NNG)/done),-isystem $(NNG)/usr/include)
NNG_LIBS = $(addprefix -l:,libnng.a libmbedtls.a libmbedx509.a libmbedcrypto.a)
NNG_LDFLAGS = $(if $(wildcard $(NNG)/done),$(addprefix -L,$(dir $(wildcard $(NNG)/usr/lib/*/libnng.a))))

obj     = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
CORE    := $(wildcard core/*.c)
LATTICE := $(CORE) $(wildcard lattice/*.c)
GOSSIP  := $(LATTICE) $(wildcard gossip/*.c)
PERSIST := $(LATTICE) $(wildcard persist/*.c)
INSPECT := $(wildcard net/inspect*.c)
NODE    := $(GOSSIP) $(wildcard persist/*.c) $(filter-out net/main.c $(INSPECT),$(wildcard net/*.c))
# A unit test links its own layer and what is below, so a broken layer fails to link.
CORE_TESTS    := $(patsubst %.c,$(BUILD)/%,$(wildcard test/unit/core_*.c))
LATTICE_TESTS := $(patsubst %.c,$(BUILD)/%,$(wildcard test/unit/lattice_*.c))
GOSSIP_TESTS  := $(patsubst %.c,$(BUILD)/%,$(wildcard test/unit/gossip_*.c))
PERSIST_TESTS := $(patsubst %.c,$(BUILD)/%,$(wildcard test/unit/persist_*.c))
NET_TESTS     := $(patsubst %.c,$(BUILD)/%,$(wildcard test/unit/net_*.c))
SIM_TESTS     := $(patsubst %.c,$(BUILD)/%,$(wildcard test/unit/sim_*.c))
# The simulator is the node without the files that touch the operating system.
OS_FILES := $(wildcard */*_posix.c */*_epoll.c */*_nng.c */*_s3.c) net/libc_compat.c
SANS_IO := $(filter-out $(OS_FILES),$(NODE))
MAELSTROM := $(SANS_IO) $(wildcard sim/maelstrom*.c) net/os_posix.c core/clock_posix.c core/file_posix.c
SIM     := $(SANS_IO) $(filter-out sim/maelstrom%,$(wildcard sim/*.c))
TESTS   := $(CORE_TESTS) $(LATTICE_TESTS) $(GOSSIP_TESTS) $(PERSIST_TESTS) $(NET_TESTS) $(SIM_TESTS)

# Fuzzing: the same sources by clang, with libFuzzer, in a folder of their own. One target a file.
FUZZ    := build/fuzz
FUZZ_CC := clang
FUZZ_SAN := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
FUZZ_TARGETS := numbers glob texts table records resp s3 session commands wire liar settle keeper objects gossip maelstrom
FUZZ_SHARED := $(filter-out $(patsubst %,test/fuzz/%.c,$(FUZZ_TARGETS)),$(wildcard test/fuzz/*.c))
FUZZ_SOURCES := $(filter-out $(OS_FILES),$(NODE)) $(FUZZ_SHARED)
FUZZ_BINARIES := $(patsubst %,$(FUZZ)/%,$(FUZZ_TARGETS))

# A store on the command line, for the integration tests.
STORE_CLIENT := $(BUILD)/test/integration/store

BENCH_PACKAGES := python3 redis-server redis-tools memcached gnuplot-nox util-linux

.PHONY: help all deps test-deps run demo test sim sim-same mutants maelstrom stress differential fuzz fuzz-save fuzz-deps fuzz-build bench bench-deps bench-durable bench-gossip bench-memory bench-peers bench-ping bench-repair lint format install clean
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

all: $(TESTS) $(STORE_CLIENT) $(BUILD)/anneal-server $(BUILD)/anneal-inspect $(BUILD)/anneal-sim $(BUILD)/anneal-maelstrom ## build everything

deps: ## install what is missing (Debian packages)
	@sh test/deps.sh $(PACKAGES)
	@sh test/deps-nng.sh $(NNG)

run: deps ## a cluster of three nodes on this machine, until Ctrl-C; what it holds is kept in build/run
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@$(PYTHON) test/cluster.py run

demo: deps ## concurrent writes on three nodes that cannot hear each other, agreement, kill -9 of all, the loss of all disks
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@$(PYTHON) test/cluster.py demo

test-deps: deps # an S3 server, for the tests of the object store
	@sh test/deps-radosgw.sh

test: test-deps $(if $(SAN),,fuzz-deps) ## run every test; SAN=address|undefined|thread
	@$(MAKE) --no-print-directory -j$(JOBS) all $(if $(SAN),,fuzz-build)
	@BUILD=$(BUILD) SAN=$(SAN) FUZZ="$(FUZZ) brief $(FUZZ_TARGETS)" $(PYTHON) -B test/run.py $(TESTS)

sim: all ## whole clusters, simulated, on all cores; SEEDS=1000 OPS=1000 FIRST=1
	@sh test/sim.sh $(BUILD)/anneal-sim $(or $(FIRST),1) $(SEEDS) $(OPS)

# The simulator again, by another compiler that optimises nothing: the same seeds, the same trace?
sim-same: $(BUILD)/anneal-sim fuzz-deps ## the same trace from gcc -O2 and clang -O0
	@$(MAKE) --no-print-directory CC=$(FUZZ_CC) BUILD=build/other OPT=-O0 SAN= build/other/anneal-sim
	@sh test/sim-same.sh $(BUILD)/anneal-sim build/other/anneal-sim

# Faults planted by core/mutant.h, in a build of their own.
MUTANTS := build/mutants
MUTANT_UNITS := lattice_stories net_command net_session persist_journal gossip_agree persist_archive persist_archive_ends lattice_shard persist_keeper
MUTANT_TESTS := $(addprefix $(MUTANTS)/test/unit/,$(MUTANT_UNITS))
mutants: deps ## plant faults, one after the other: each must be caught; ONLY=name,... SEEDS=300
	@$(MAKE) --no-print-directory BUILD=$(MUTANTS) OPT="-O2 -DMUTANTS -DLOCKS_CHECKED" SAN= $(MUTANTS)/anneal-sim $(MUTANT_TESTS)
	@UNITS="$(MUTANT_UNITS)" sh test/mutants.sh $(MUTANTS) $(if $(filter file,$(origin SEEDS)),300,$(SEEDS)) $(subst $(comma), ,$(ONLY))

maelstrom: deps ## Maelstrom's workloads under partitions, judged by us, some minutes; MAELSTROM_ARGS="--only g-set --nodes 5"
	@$(MAKE) --no-print-directory $(BUILD)/anneal-maelstrom
	@$(PYTHON) -B test/maelstrom/run.py --binary $(BUILD)/anneal-maelstrom --seconds 15 --rate 150 --cut 4 --rounds 2 $(MAELSTROM_ARGS)

stress: deps ## real nodes killed, stopped and cut off under load, and a judge; TIME=60 seconds, SEED=..., SAN=thread, STRESS_ARGS="--nodes 3"
	@$(MAKE) --no-print-directory $(BUILD)/anneal-server
	@BUILD=$(BUILD) SAN=$(SAN) $(PYTHON) -B test/stress/run.py --seconds $(or $(TIME),60) $(if $(SEED),--seed $(SEED)) $(STRESS_ARGS)

differential: all ## random commands to a node and to redis-server; N=1000000 SEED=...
	@BUILD=$(BUILD) $(PYTHON) test/integration/differential.py $(or $(N),1000000) $(SEED)

fuzz: fuzz-deps ## random bytes to what reads bytes of others, and to joins, sanitized; TIME=60 seconds for each, ONLY=resp,glob
	@$(MAKE) --no-print-directory fuzz-build
	@sh test/fuzz.sh $(FUZZ) $(or $(TIME),60) $(or $(subst $(comma), ,$(ONLY)),$(FUZZ_TARGETS))

fuzz-save: fuzz-build ## of what make fuzz found, the least that reaches the same, into test/fuzz/corpus
	@sh test/fuzz-save.sh $(FUZZ) $(or $(subst $(comma), ,$(ONLY)),$(FUZZ_TARGETS))

fuzz-deps: deps
	@sh test/deps.sh clang
	@sh test/deps.sh libclang-rt-$$(clang -dumpversion | cut -d. -f1)-dev

fuzz-build: $(FUZZ_BINARIES)

bench: bench-deps $(BUILD)/anneal-server ## compare with redis, valkey, memcached; ROUNDS=3 ONLY=set,get PEERS=redis
	@ROUNDS=$(ROUNDS) ONLY=$(ONLY) PEERS=$(PEERS) $(PYTHON) -B test/bench/bench.py

bench-deps: deps ## what bench needs besides
	@sh test/deps.sh $(BENCH_PACKAGES)
	@sh test/deps-valkey.sh build/valkey

bench-memory: $(BUILD)/test/bench/memory ## what a key costs in bytes and time; MEMORY_ARGS="keys name value cut"
	@$< $(MEMORY_ARGS)

bench-repair: $(BUILD)/test/bench/repair ## bytes to catch up when the log no longer reaches back; REPAIR_ARGS="keys name value"
	@$< $(REPAIR_ARGS)

lint: ## includes that point upwards, each printed
	@sh test/layers.sh

format: ## lay the sources out by .clang-format (needs clang-format)
	@clang-format -i $(wildcard */*.[ch] test/*/*.c)

install: all ## into PREFIX (/usr/local)
	install -D -m 755 $(BUILD)/anneal-server $(DESTDIR)$(PREFIX)/bin/anneal-server
	install -D -m 755 $(BUILD)/anneal-inspect $(DESTDIR)$(PREFIX)/bin/anneal-inspect
	install -D -m 755 $(BUILD)/anneal-sim $(DESTDIR)$(PREFIX)/bin/anneal-sim
	install -D -m 755 $(BUILD)/anneal-maelstrom $(DESTDIR)$(PREFIX)/bin/anneal-maelstrom

bench-durable: $(BUILD)/anneal-server ## what logs, object stores, restarts and checkpoints cost; ROUNDS=3 ONLY=store,always,restart,space,latency
	@ROUNDS=$(ROUNDS) ONLY=$(ONLY) $(PYTHON) -B test/bench/durable.py

bench-gossip: $(BUILD)/anneal-server ## bytes between two nodes: a hot key, idle with a million keys, after a cut
	@$(PYTHON) -B test/bench/gossip.py

bench-peers: $(BUILD)/test/bench/peers ## frames between peers: rate, latency, CPU; nng's pub/sub beside it
	$<

bench-ping: $(BUILD)/test/bench/ping ## CPU per PING of the front end and of redis-server
	sh test/bench/ping.sh $(BUILD)

clean: ## remove build/
	rm -rf build

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call run,$(CC) $<)$(CC) $(CFLAGS) $(PKG_CFLAGS) $(NNG_CFLAGS) -c $< -o $@

.SECONDARY:
$(CORE_TESTS): $(BUILD)/%: $(BUILD)/obj/%.o $(call obj,$(CORE))
	@mkdir -p $(@D)
	$(call run,link $@)$(CC) $(LDFLAGS) $^ -o $@ -lcmocka $(LDLIBS)
$(LATTICE_TESTS): $(BUILD)/%: $(BUILD)/obj/%.o $(call obj,$(LATTICE))
	@mkdir -p $(@D)
	$(call run,link $@)$(CC) $(LDFLAGS) $^ -o $@ -lcmocka $(LDLIBS)
$(GOSSIP_TESTS): $(BUILD)/%: $(BUILD)/obj/%.o $(call obj,$(GOSSIP))
	@mkdir -p $(@D)
	$(call run,link $@)$(CC) $(LDFLAGS) $^ -o $@ -lcmocka $(LDLIBS)
$(PERSIST_TESTS): $(BUILD)/%: $(BUILD)/obj/%.o $(call obj,$(PERSIST) sim/disk.c sim/memory.c sim/store.c)
	@mkdir -p $(@D)
	$(call run,link $@)$(CC) $(LDFLAGS) $^ -o $@ -lcmocka $(CURL_LIBS) $(LDLIBS)
$(STORE_CLIENT): $(BUILD)/%: $(BUILD)/obj/%.o $(call obj,$(PERSIST))
	@mkdir -p $(@D)
	$(call run,link $@)$(CC) $(LDFLAGS) $^ -o $@ $(CURL_LIBS) $(LDLIBS)
$(NET_TESTS): $(BUILD)/%: $(BUILD)/obj/%.o $(call obj,$(NODE))
	@mkdir -p $(@D)
	$(call run,link $@)$(CC) $(LDFLAGS) $(NNG_LDFLAGS) $^ -o $@ -lcmocka $(NNG_LIBS) $(CURL_LIBS) $(LDLIBS)
$(SIM_TESTS): $(BUILD)/%: $(BUILD)/obj/%.o $(call obj,$(filter-out sim/main.c,$(SIM)))
	@mkdir -p $(@D)
	$(call run,link $@)$(CC) $(LDFLAGS) $^ -o $@ -lcmocka $(LDLIBS)

$(BUILD)/test/bench/memory $(BUILD)/test/bench/repair: $(BUILD)/%: $(BUILD)/obj/%.o $(call obj,$(LATTICE))
	@mkdir -p $(@D)
	$(call run,link $@)$(CC) $(LDFLAGS) $^ -o $@ $(LDLIBS)

$(BUILD)/anneal-server: $(call obj,$(NODE) net/main.c)
	$(call run,link $@)$(CC) $(LDFLAGS) $(NNG_LDFLAGS) $^ -o $@ $(NNG_LIBS) $(CURL_LIBS) $(LDLIBS)

$(BUILD)/anneal-inspect: $(call obj,$(PERSIST) $(INSPECT) net/os_posix.c)
	$(call run,link $@)$(CC) $(LDFLAGS) $^ -o $@ $(JSON_LIBS) $(CURL_LIBS) $(LDLIBS)

$(BUILD)/anneal-sim: $(call obj,$(SIM))
	$(call run,link $@)$(CC) $(LDFLAGS) $^ -o $@ $(LDLIBS)

$(BUILD)/anneal-maelstrom: $(call obj,$(MAELSTROM))
	$(call run,link $@)$(CC) $(LDFLAGS) $^ -o $@ $(JSON_LIBS) $(LDLIBS)

$(BUILD)/test/bench/%: $(BUILD)/obj/test/bench/%.o $(call obj,$(CORE) net/resp.c net/server_epoll.c net/peer_nng.c net/libc_compat.c)
	@mkdir -p $(@D)
	$(call run,link $@)$(CC) $(LDFLAGS) $(NNG_LDFLAGS) $^ -o $@ $(NNG_LIBS) $(LDLIBS)

$(FUZZ)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call run,$(FUZZ_CC) $<)$(FUZZ_CC) $(filter-out $(SANFLAGS),$(CFLAGS)) $(FUZZ_SAN) -fsanitize=fuzzer-no-link $(PKG_CFLAGS) -c $< -o $@

$(FUZZ)/maelstrom: $(patsubst %.c,$(FUZZ)/obj/%.o,$(filter-out $(OS_FILES),$(wildcard sim/maelstrom*.c)))
$(FUZZ)/maelstrom: LDLIBS += $(JSON_LIBS)
$(FUZZ_BINARIES): $(FUZZ)/%: $(FUZZ)/obj/test/fuzz/%.o $(patsubst %.c,$(FUZZ)/obj/%.o,$(FUZZ_SOURCES))
	$(call run,link $@)$(FUZZ_CC) $(FUZZ_SAN) -fsanitize=fuzzer -pthread $^ -o $@ $(filter-out $(MALLOC),$(LDLIBS))

-include $(shell find $(BUILD)/obj $(FUZZ)/obj -name '*.d' 2>/dev/null)
