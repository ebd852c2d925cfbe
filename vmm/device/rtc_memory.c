// SPDX-License-Identifier: Apache-2.0
// What the firmware of a PC leaves in CMOS memory: rtc_set_memory(). Sizes that do not fit are cut
// to the largest number that does.
#include "vmm/device/rtc.h"

enum {
    BASE_K = 0x15,     // KiB below 1 MiB
    EXTENDED_K = 0x17, // KiB from 1 MiB on
    EXTENDED_K_POST = 0x30,
    ABOVE_16M_64K = 0x34, // 64 KiB blocks from 16 MiB on, below 4 GiB
    ABOVE_4G_64K = 0x5b,  // 64 KiB blocks from 4 GiB on, three bytes
    SUM_FIRST = 0x10,
    SUM_LAST = 0x2d,
    SUM = 0x2e, // high byte first

    BASE_K_MAX = 640,
};

static void set_bytes(struct rtc *rtc, uint32_t index, uint32_t bytes, uint64_t value,
                      uint64_t max) {
    value = value < max ? value : max;
    for (uint32_t i = 0; i < bytes; i++)
        rtc->cmos[index + i] = (uint8_t)(value >> 8 * i);
}

void rtc_set_memory(struct rtc *rtc, uint64_t low_bytes, uint64_t high_bytes) {
    uint64_t low_k = low_bytes / 1024;
    uint64_t extended_k = low_k > 1024 ? low_k - 1024 : 0;
    uint64_t above_16m = low_k > 16384 ? (low_k - 16384) / 64 : 0;
    uint32_t sum = 0;

    set_bytes(rtc, BASE_K, 2, low_k, BASE_K_MAX);
    set_bytes(rtc, EXTENDED_K, 2, extended_k, 0xffff);
    set_bytes(rtc, EXTENDED_K_POST, 2, extended_k, 0xffff);
    set_bytes(rtc, ABOVE_16M_64K, 2, above_16m, 0xffff);
    set_bytes(rtc, ABOVE_4G_64K, 3, high_bytes / 65536, 0xffffff);
    for (uint32_t i = SUM_FIRST; i <= SUM_LAST; i++)
        sum += rtc->cmos[i];
    rtc->cmos[SUM] = (uint8_t)(sum >> 8);
    rtc->cmos[SUM + 1] = (uint8_t)sum;
}
