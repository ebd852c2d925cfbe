// SPDX-License-Identifier: Apache-2.0
//
// selfcheck: what a Linux guest can tell about the machine it runs on. It checks, in this order,
//
//   cpus      as many online as `selfcheck.cpus=N` on the kernel command line says; they work
//             together (selfcheck_smp.c)
//   memory    as much in the firmware's memory map as `selfcheck.mem=MIB` says
//   contents  most of the free memory keeps what was written to it, no page of it standing for
//             another
//   time      the kernel's clock and the CMOS clock agree on how long two seconds are
//   ptp       the module ptp_kvm loads and gives the host's time (selfcheck_ptp.c)
//   steal     how much time the host took from it (only told)
//   log       the kernel log holds no line of the classes below
//
// (as `selfcheck log` only cpus and log, after a load of another kind) and prints one line,
// `selfcheck: PASS ...` or `selfcheck: FAIL REASON`. An argument without a value on the command
// line is not checked. With `selfcheck.quick=1` the contents are those of a few MiB. Lines that a
// bare machine gives as well are listed in /etc/known-lines (see bare-bochs-lines.txt).

#define _GNU_SOURCE
#include "selfcheck.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/rtc.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

// Firmware may keep this much of the guest's memory for itself (the holes below 1 MiB, ACPI
// tables).
#define FIRMWARE_SHARE (2 * MIB)
// The kernel keeps working beside the check in this much.
#define LEFT_FREE             (8 * MIB)
#define QUICK_SIZE            (8 * MIB)
#define RTC_SECONDS           2
#define RTC_PATIENCE_NS       (5 * NS_PER_S)
#define RTC_TOLERANCE_PERCENT 3
#define KLOG_READ_ALL         3
#define KLOG_SIZE             10

static const char *const bad_lines[] = {
    "BUG:",
    "Oops",
    "WARNING",
    "Firmware Bug",
    "unchecked MSR",
    "Call Trace",
    "self-detected stall",
    "detected stalls",
    "kthread starved",
    "TSC unstable",
    "TSC warp",
    "timekeeping watchdog",
    "APIC error",
    "failed to become alive",
    "ACPI Error",
    "ACPI Warning",
};

static char passed[512];

static void finish(void) {
    fflush(stdout);
    tcdrain(STDOUT_FILENO);
}

void fail(const char *format, ...) {
    va_list arguments;

    va_start(arguments, format);
    printf("selfcheck: FAIL ");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    finish();
    exit(EXIT_FAILURE);
}

void pass(const char *format, ...) {
    const size_t used = strlen(passed);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(passed + used, sizeof(passed) - used, format, arguments);
    va_end(arguments);
}

void read_text(const char *path, char *text, size_t size) {
    FILE *file = fopen(path, "r");

    if (file == NULL)
        fail("%s: %s", path, strerror(errno));
    text[fread(text, 1, size - 1, file)] = '\0';
    fclose(file);
}

// The number behind `name=` on the kernel command line, or 0.
static uint64_t argument(const char *name) {
    char words[4096], *rest = words;
    const size_t length = strlen(name);

    read_text("/proc/cmdline", words, sizeof(words));
    for (const char *word; (word = strsep(&rest, " \n")) != NULL;)
        if (strncmp(word, name, length) == 0 && word[length] == '=')
            return strtoull(word + length + 1, NULL, 10);
    return 0;
}

static void check_cpus(void) {
    const uint64_t expected = argument("selfcheck.cpus");
    const uint64_t seen = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
    cpu_set_t allowed;

    if (expected != 0 && seen != expected)
        fail("cpus: %" PRIu64 " online, %" PRIu64 " expected", seen, expected);
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0 ||
        (uint64_t)CPU_COUNT(&allowed) != seen)
        fail("cpus: %" PRIu64 " online, but not all may be used", seen);
    pass("cpus %" PRIu64, seen);
    check_processors_together((unsigned)seen);
}

// One entry of the firmware's map: its size where it is memory, else 0.
static uint64_t map_entry_memory(const char *entry) {
    char path[PATH_MAX], start[32], end[32], type[64];

    snprintf(path, sizeof(path), "%s/type", entry);
    read_text(path, type, sizeof(type));
    if (strcmp(type, "System RAM\n") != 0)
        return 0;
    snprintf(path, sizeof(path), "%s/start", entry);
    read_text(path, start, sizeof(start));
    snprintf(path, sizeof(path), "%s/end", entry);
    read_text(path, end, sizeof(end));
    return strtoull(end, NULL, 16) - strtoull(start, NULL, 16) + 1;
}

static void check_memory_size(void) {
    const uint64_t expected = argument("selfcheck.mem") * MIB;
    uint64_t seen = 0;
    glob_t entries;

    if (glob("/sys/firmware/memmap/*", 0, NULL, &entries) != 0)
        fail("memory: the kernel shows no firmware memory map");
    for (size_t i = 0; i < entries.gl_pathc; i++)
        seen += map_entry_memory(entries.gl_pathv[i]);
    globfree(&entries);
    if (expected != 0 && (seen > expected || seen + FIRMWARE_SHARE < expected))
        fail("memory: %" PRIu64 " KiB seen, %" PRIu64 " KiB expected", seen / 1024,
             expected / 1024);
    pass(", memory %" PRIu64 " KiB", seen / 1024);
}

static uint64_t free_memory(void) {
    char text[4096];
    const char *line;

    read_text("/proc/meminfo", text, sizeof(text));
    line = strstr(text, "MemAvailable:");
    return line == NULL ? 0 : strtoull(line + strlen("MemAvailable:"), NULL, 10) * 1024;
}

// All of it is written before any of it is read, so a page that stands for two addresses shows. The
// words are the multiples of an odd constant: each stands once, and telling them costs one
// addition, which an emulator notices.
static void check_memory_contents(void) {
    const uint64_t step = UINT64_C(0x9e3779b97f4a7c15), available = free_memory();
    uint64_t checksum = 0, expected = step, size, count, *words;

    if (available < LEFT_FREE + 2 * MIB)
        fail("memory: only %" PRIu64 " KiB are free", available / 1024);
    size = (available - LEFT_FREE) & ~(2 * MIB - 1);
    if (argument("selfcheck.quick") != 0 && size > QUICK_SIZE)
        size = QUICK_SIZE;
    count = size / sizeof(*words);
    words = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (words == MAP_FAILED)
        fail("memory: mapping %" PRIu64 " KiB: %s", size / 1024, strerror(errno));
    for (uint64_t i = 0; i < count; i++, expected += step)
        words[i] = expected;
    __asm__ volatile("" ::: "memory");
    expected = step;
    for (uint64_t i = 0; i < count; i++, expected += step) {
        if (words[i] != expected)
            fail("memory: word %" PRIu64 " reads 0x%" PRIx64 ", 0x%" PRIx64 " was written", i,
                 words[i], expected);
        checksum += words[i];
    }
    munmap(words, size);
    pass(", %" PRIu64 " MiB of it kept their contents (sum %016" PRIx64 ")", size / MIB, checksum);
}

int64_t now_ns(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

// Waits until the CMOS clock begins a new second, and tells when that was.
static int64_t rtc_next_second(int rtc) {
    const struct timespec pause = {.tv_nsec = NS_PER_S / 1000};
    const int64_t start = now_ns();
    struct rtc_time first, current;

    if (ioctl(rtc, RTC_RD_TIME, &first) != 0)
        fail("time: reading the CMOS clock: %s", strerror(errno));
    do {
        nanosleep(&pause, NULL);
        if (now_ns() - start > RTC_PATIENCE_NS)
            fail("time: the CMOS clock stands still");
        if (ioctl(rtc, RTC_RD_TIME, &current) != 0)
            fail("time: reading the CMOS clock: %s", strerror(errno));
    } while (current.tm_sec == first.tm_sec);
    return now_ns();
}

static void check_time(void) {
    const int rtc = open("/dev/rtc0", O_RDONLY);
    int64_t start, end, deviation;

    if (rtc < 0)
        fail("time: /dev/rtc0: %s", strerror(errno));
    start = end = rtc_next_second(rtc);
    for (int i = 0; i < RTC_SECONDS; i++)
        end = rtc_next_second(rtc);
    close(rtc);
    deviation = end - start - RTC_SECONDS * NS_PER_S;
    if (llabs(deviation) * 100 > RTC_TOLERANCE_PERCENT * RTC_SECONDS * NS_PER_S)
        fail("time: the clocks drift %" PRId64 " us apart in %d s", deviation / 1000, RTC_SECONDS);
    pass(", clocks %" PRId64 " us apart in %d s", deviation / 1000, RTC_SECONDS);
}

// How long the host let others run while this guest wanted to, by the kernel's accounts.
static void tell_stolen_time(void) {
    char stat[4096];
    unsigned long long steal = 0;

    read_text("/proc/stat", stat, sizeof(stat));
    if (sscanf(stat, "cpu %*u %*u %*u %*u %*u %*u %*u %llu", &steal) != 1)
        fail("steal: /proc/stat has no such column");
    pass(", %llu ms stolen", steal * 1000 / (unsigned long long)sysconf(_SC_CLK_TCK));
}

// A line of the log is known when a line of /etc/known-lines is part of it.
static bool is_known(const char *line) {
    FILE *file = fopen("/etc/known-lines", "r");
    char known[512];
    bool found = false;

    if (file == NULL)
        return false;
    while (!found && fgets(known, sizeof(known), file) != NULL) {
        known[strcspn(known, "\n")] = '\0';
        found = known[0] != '\0' && known[0] != '#' && strstr(line, known) != NULL;
    }
    fclose(file);
    return found;
}

static void check_log(void) {
    const int size = klogctl(KLOG_SIZE, NULL, 0);
    char *text = calloc(1, size < 0 ? 1 : (size_t)size + 1), *rest = text;
    int line_count = 0;

    if (size < 0 || text == NULL || klogctl(KLOG_READ_ALL, text, size) < 0)
        fail("log: reading the kernel log: %s", strerror(errno));
    for (const char *line; (line = strsep(&rest, "\n")) != NULL; line_count++)
        for (size_t i = 0; i < sizeof(bad_lines) / sizeof(bad_lines[0]); i++)
            if (strstr(line, bad_lines[i]) != NULL && !is_known(line))
                fail("log: %s", line);
    free(text);
    pass(", %d log lines clean", line_count);
}

// What the kernel makes of the processor's faults and controls, a line each: no check of ours, but
// the tier's.
static void tell_vulnerabilities(void) {
    const char *folder = "/sys/devices/system/cpu/vulnerabilities";
    char path[512], text[256];
    DIR *names = opendir(folder);
    for (struct dirent *entry; names != NULL && (entry = readdir(names)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        read_text(path, text, sizeof(text));
        text[strcspn(text, "\n")] = '\0';
        printf("vulnerability %s: %s\n", entry->d_name, text);
    }
    if (names != NULL)
        closedir(names);
}

int main(int count, char **arguments) {
    const bool is_log_only = count > 1 && strcmp(arguments[1], "log") == 0;

    check_cpus();
    if (!is_log_only) {
        check_memory_size();
        check_memory_contents();
        check_time();
        check_host_clock();
        tell_stolen_time();
        tell_vulnerabilities();
    }
    check_log();
    printf("selfcheck: PASS %s\n", passed);
    finish();
    return EXIT_SUCCESS;
}
