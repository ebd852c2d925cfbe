// SPDX-License-Identifier: Apache-2.0
// The interface is told in wall.h: processes that attack.
#include "lib/elf.h"
#include "lib/string.h"
#include "lib/syscall.h"
#include "runtime/wall.h"

#define IMAGE_AT     0x400000ULL // Makefile, USER_LINK
#define IMAGE_MAX    0x100000ULL
#define SEGMENTS_MAX 4u
#define ENDED        1u // bit of the event

// The program's own segments that are not written.
static struct segment {
    struct area area;
    uint64_t address;
    uint32_t rights;
} segments[SEGMENTS_MAX];
static uint32_t segment_count;

static void copy_image(void) {
    struct elf_image image;
    struct elf_segment from;
    uint32_t cursor = 0;
    CHECK(elf_check(&image, (const void *)IMAGE_AT, IMAGE_MAX) == ELF_OK, "its own image");
    while (elf_segment(&image, &cursor, &from)) {
        if ((from.flags & ELF_FLAG_WRITE) != 0)
            continue;
        struct segment *to = &segments[segment_count++];
        to->address = align_down(from.virtual_address, ABI_PAGE);
        to->rights =
            ABI_RIGHT_READ | ((from.flags & ELF_FLAG_EXECUTE) != 0 ? ABI_RIGHT_EXECUTE : 0);
        to->area =
            area_make(align_up(from.virtual_address + from.memory_size, ABI_PAGE) - to->address);
        memcpy(to->area.at + from.virtual_address % ABI_PAGE, (const void *)from.virtual_address,
               from.memory_size);
    }
}

void child_open(struct child *child, uint64_t bytes) {
    if (segment_count == 0)
        copy_image();
    child->quota = must(sys_quota_create(wall_start->quota, bytes, 0, 0), "a child's quota");
    child->event = must(sys_event_create(wall_start->quota), "a child's event");
    child->process = must(sys_process_create(child->quota, child->event, ENDED, 0), "a child");
    for (uint32_t i = 0; i < segment_count; i++)
        child_map(child, &segments[i].area, segments[i].address, segments[i].rights);
}

void child_map(const struct child *child, const struct area *area, uint64_t address,
               uint32_t rights) {
    must(sys_process_map(child->process, area->memory, address, 0, area->size, rights),
         "mapping for a child");
}

uint32_t child_give(const struct child *child, uint32_t handle, uint32_t rights) {
    return must(sys_handle_copy(child->process, handle, rights, UINT64_MAX),
                "a handle for a child");
}

void child_start(const struct child *child, uint64_t entry, uint64_t stack_top, uint64_t argument) {
    // A function is entered with the stack 8 bytes off 16: System V ABI, x86-64, 3.2.2 "The Stack
    // Frame".
    must(sys_thread_create(child->process, entry, stack_top - 8, argument, ABI_CPU_ANY),
         "a child's thread");
}

bool child_wait(const struct child *child, uint64_t microseconds,
                struct abi_process_status *status) {
    uint64_t end = wall_tsc() + wall_ticks(microseconds), bits;
    for (;;) {
        bool is_late = wall_tsc() >= end;
        must(sys_process_status(child->process, status), "a child's status");
        if (status->state != ABI_PROCESS_RUNNING || is_late)
            return status->state != ABI_PROCESS_RUNNING;
        (void)sys_event_wait(child->event, UINT64_MAX, end, &bits);
    }
}

// Its last thread may still be on its way out, and large objects are taken apart in steps.
static bool is_all_back(uint32_t quota) {
    struct abi_quota_info info = {0, 1};
    uint64_t end = wall_tsc() + wall_ticks(WALL_PATIENCE_US);
    while (sys_quota_read(quota, &info) == 0 && info.used != 0 && wall_tsc() < end)
        wall_nap(200);
    CHECK(info.used == 0, "%lu bytes of a child did not come back", info.used);
    return info.used == 0;
}

void child_close(struct child *child) {
    struct abi_process_status status;
    if (!child_wait(child, 0, &status)) {
        (void)sys_process_kill(child->process, 0);
        CHECK(child_wait(child, WALL_PATIENCE_US, &status), "a child that was killed goes on");
    }
    (void)sys_handle_close(child->process);
    (void)sys_handle_close(child->event);
    (void)is_all_back(child->quota);
    (void)sys_handle_close(child->quota);
}
