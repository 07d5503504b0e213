# anneal: make help lists what there is.
CC      ?= gcc
BUILD   ?= build
OPT     ?= -O2 -g
SAN     ?=
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wconversion -Werror
PKGS    := msgpack libsodium libxxhash
PACKAGES := gcc make pkg-config libmsgpack-dev libsodium-dev libxxhash-dev libcmocka-dev

ifneq ($(SAN),)
BUILD   := build/$(SAN)
SANFLAGS := -fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer
endif

PKG_CFLAGS = $(patsubst -I%,-isystem %,$(shell pkg-config --cflags $(PKGS) 2>/dev/null))
CFLAGS  = -std=gnu17 $(OPT) $(WARN) $(SANFLAGS) -I. -MMD -MP -pthread -fPIE
LDFLAGS = $(SANFLAGS) -pthread
LDLIBS  = $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm

# nng >= 1.10, linked statically: from NNG's prefix if test/deps-nng.sh made one, else the system's.
NNG     := build/nng
NNG_CFLAGS = $(if $(wildcard $(NNG)/done),-isystem $(NNG)/usr/include)
NNG_LIBS = $(addprefix -l:,libnng.a libmbedtls.a libmbedx509.a libmbedcrypto.a)
NNG_LDFLAGS = $(if $(wildcard $(NNG)/done),$(addprefix -L,$(dir $(wildcard $(NNG)/usr/lib/*/libnng.a))))

obj     = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
CORE    := $(wildcard core/*.c)
LATTICE := $(CORE) $(wildcard lattice/*.c)
# A unit test links its own layer and what is below, so a broken layer fails to link.
CORE_TESTS    := $(patsubst %.c,$(BUILD)/%,$(wildcard test/unit/core_*.c))
LATTICE_TESTS := $(patsubst %.c,$(BUILD)/%,$(wildcard test/unit/lattice_*.c))
NET_TESTS     := $(patsubst %.c,$(BUILD)/%,$(wildcard test/unit/net_*.c))
TESTS   := $(CORE_TESTS) $(LATTICE_TESTS) $(NET_TESTS)

.PHONY: help all deps test lint clean bench-peers bench-ping
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

all: $(TESTS) ## build everything

deps: ## install what is missing (Debian packages)
	@sh test/deps.sh $(PACKAGES)
	@sh test/deps-nng.sh $(NNG)

test: deps ## run every test; SAN=address|undefined|thread
	@$(MAKE) --no-print-directory all && sh test/run-unit.sh $(TESTS)

lint: ## includes that point upwards, each printed
	@sh test/layers.sh

bench-peers: $(BUILD)/test/bench/peers ## frames between peers: rate, latency, CPU; nng's pub/sub beside it
	$<

bench-ping: $(BUILD)/test/bench/ping ## CPU per PING of the front end and of redis-server
	sh test/bench/ping.sh $(BUILD)

clean: ## remove build/
	rm -rf build

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(PKG_CFLAGS) $(NNG_CFLAGS) -c $< -o $@

.SECONDARY:
$(CORE_TESTS): $(BUILD)/%: $(BUILD)/obj/%.o $(call obj,$(CORE))
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) $^ -o $@ -lcmocka $(LDLIBS)
$(LATTICE_TESTS): $(BUILD)/%: $(BUILD)/obj/%.o $(call obj,$(LATTICE))
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) $^ -o $@ -lcmocka $(LDLIBS)
$(NET_TESTS): $(BUILD)/%: $(BUILD)/obj/%.o $(call obj,$(LATTICE) $(filter-out net/main.c,$(wildcard net/*.c)))
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) $(NNG_LDFLAGS) $^ -o $@ -lcmocka $(NNG_LIBS) $(LDLIBS)

$(BUILD)/test/bench/%: $(BUILD)/obj/test/bench/%.o $(call obj,$(CORE) net/resp.c net/server_epoll.c net/peer_nng.c net/libc_compat.c)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) $(NNG_LDFLAGS) $^ -o $@ $(NNG_LIBS) $(LDLIBS)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
