# SPDX-License-Identifier: Apache-2.0
# Hostile processes: each guests/wall/NAME.c with the runtime makes build/guests/wall/NAME.elf, a
# ring-3 program that a test image runs in the VMM's place. Included by the Makefile.

WALL_NAMES   := $(patsubst guests/wall/%.c,%,$(wildcard guests/wall/*.c))
WALL_RUNTIME := $(call objects,ring3,$(wildcard guests/wall/runtime/*.c) lib/elf.c lib/fmt.c lib/ring.c lib/string.c lib/text.c \
        lib/start.S)

.PHONY: wall
wall: $(WALL_NAMES:%=$(BUILD)/guests/wall/%.elf)

$(BUILD)/ring3/guests/wall/%: USER_FLAGS += -Iguests/wall
$(BUILD)/guests/wall/%.elf: $(BUILD)/ring3/guests/wall/%.c.o $(WALL_RUNTIME)
	$(call say,LD,$@)mkdir -p $(@D) && $(LD) $(USER_LINK) -o $@ $^
