// SPDX-License-Identifier: Apache-2.0
// boot/boot_features: what is made of CPUID leaves and MSRs of paper.
#include <criterion/criterion.h>
#include <string.h>

#include "boot/boot_features.h"

static struct {
    uint32_t leaf, subleaf;
    struct boot_cpuid r;
} leaves[32];
static uint32_t leaf_count;
static uint64_t apic_base, secondary;
static uint32_t wild_msrs; // reads of what was not promised
static struct platform platform;
static struct boot_info info = {.platform = &platform};

static struct boot_cpuid paper_cpuid(uint32_t leaf, uint32_t subleaf) {
    const struct boot_cpuid none = {0, 0, 0, 0};
    for (uint32_t i = 0; i < leaf_count; i++)
        if (leaves[i].leaf == leaf && leaves[i].subleaf == subleaf)
            return leaves[i].r;
    return none;
}

static uint64_t paper_rdmsr(uint32_t msr) {
    bool has_secondary = secondary != 0, has_ept = (secondary >> 33 & 1) != 0;
    wild_msrs += (msr == 0x48b && !has_secondary) || (msr == 0x48c && !has_ept);
    switch (msr) {
    case 0x1b:
        return apic_base;
    case 0x480:
        return 1ULL << 55 | 7;
    case 0x482:
        return has_secondary ? 1ULL << 63 : 0;
    case 0x48b:
        return secondary;
    default:
        return 0x1000 + msr;
    }
}

static void set(uint32_t leaf, uint32_t subleaf, uint32_t eax, uint32_t ebx, uint32_t ecx,
                uint32_t edx) {
    uint32_t i = 0;
    while (i < leaf_count && (leaves[i].leaf != leaf || leaves[i].subleaf != subleaf))
        i++;
    leaf_count += i == leaf_count;
    leaves[i].leaf = leaf;
    leaves[i].subleaf = subleaf;
    leaves[i].r = (struct boot_cpuid){eax, ebx, ecx, edx};
}

static void make_skylake(void) {
    set(0, 0, 0x16, 0x756e6547, 0x6c65746e, 0x49656e69);
    set(1, 0, 0x50654, 0, 1u << 5 | 1u << 21 | 1u << 24 | 1u << 26 | 1u << 27, 0xbfebfbff);
    set(7, 0, 0, 1u << 1 | 1u << 7 | 1u << 20, 1u << 2 | 1u << 4, 0);
    set(0xd, 0, 0xe7, 576, 0, 0);
    set(0xd, 2, 256, 576, 0, 0);
    set(0xd, 5, 64, 1088, 0, 0);
    set(0xd, 6, 512, 1152, 0, 0);
    set(0xd, 7, 1024, 1664, 0, 0);
    set(0x80000000, 0, 0x80000008, 0, 0, 0);
    set(0x80000001, 0, 0, 0, 0, 1u << 20 | 1u << 26 | 1u << 27);
    set(0x80000002, 0, 0x65746e49, 0x6c, 0, 0);
    set(0x80000007, 0, 0, 0, 0, 1u << 8);
    set(0x80000008, 0, 0x30302e, 0, 0, 0); // and what a hypervisor says of its guest
    secondary = 1ULL << 33;
    info.tsc_hz = 2400000000;
}

static const struct cpu_features *read_features(uint32_t microcode, bool is_refused) {
    const struct boot_processor cpu = {paper_cpuid, paper_rdmsr, microcode};
    info.word_count = 0;
    memset(info.report, 0, sizeof(info.report));
    boot_features_read(&cpu, is_refused, &info);
    boot_features_report(&cpu, &info);
    return &info.features;
}

static bool says(const char *text) {
    bool is_said = false;
    for (const char *line = info.report; *line != '\0'; line += strlen(line) + 1)
        is_said |= strstr(line, text) != NULL;
    return is_said;
}

TestSuite(boot_features, .init = make_skylake);

Test(boot_features, are_what_cpuid_says) {
    const struct cpu_features *f = read_features(0, false);
    cr_assert(f->is_intel && f->has_vmx && f->has_x2apic && f->has_tsc_deadline && f->has_xsave);
    cr_assert(f->has_smep && f->has_smap && f->has_umip && f->has_tsc_adjust && f->has_nx);
    cr_assert(f->has_1g_pages && f->has_rdtscp && f->has_tsc_invariant);
    cr_assert_not(f->has_svm || f->has_la57);
    cr_assert_eq(f->physical_bits, 46);
    cr_assert(says("CPU: Intel, 2400 MHz") && says("clock: TSC at 2400000 kHz") && !says("UMIP"));
}

Test(boot_features, xsave_area_with_its_last_feature_fits_a_page) {
    cr_assert_eq(read_features(0, false)->xcr0_mask, 0xe7);
    set(0xd, 7, 1024, 3072, 0, 0);
    cr_assert_eq(read_features(0, false)->xcr0_mask, 0xe7);
    set(0xd, 7, 1024, 3073, 0, 0);
    cr_assert(read_features(0, false)->xcr0_mask == 3 && !info.features.has_xsave);
    set(0xd, 0, 0x67, 576, 0, 0); // AVX-512 in parts is none
    cr_assert(read_features(0, false)->xcr0_mask == 7 && info.features.has_xsave);
    set(0xd, 2, 256, 8000, 0, 0); // no page holds that
    cr_assert(read_features(0, false)->xcr0_mask == 3 && !info.features.has_xsave);
}

static bool divides_cache(uint32_t ways, uint32_t classes) {
    const struct cpu_features *f = read_features(0, false);
    return f->cache_ways == ways && f->cache_classes == classes;
}

Test(boot_features, cache_is_divided_where_all_says_so) {
    const uint32_t smap = 1u << 20, allocation = 1u << 15;
    set(0x10, 0, 0, 1u << 1, 0, 0);
    set(0x10, 1, 10, 0, 0, 15);
    cr_assert(divides_cache(0, 0), "leaf 7 has no such bit");
    set(7, 0, 0, smap | allocation, 0, 0);
    cr_assert(divides_cache(11, 16));
    set(0x10, 1, 31, 0, 0, 0xffff);
    cr_assert(divides_cache(32, CPU_CACHE_CLASSES_MAX), "the kernel has a place for no more");
    set(0x10, 1, 0xffffffe7, 0, 0, 0xffff0003);
    cr_assert(divides_cache(8, 4), "what is reserved does not count");
    set(0x10, 0, 0, 1u << 2, 0, 0);
    cr_assert(divides_cache(0, 0), "the second level only");
    set(0x10, 0, 0, 1u << 1, 0, 0);
    set(0, 0, 0xf, 0x756e6547, 0x6c65746e, 0x49656e69);
    cr_assert(divides_cache(0, 0), "there is no such leaf");
}

Test(boot_features, leaves_that_are_not_there_are_not_believed) {
    set(0, 0, 1, 0, 0, 0);
    const struct cpu_features *f = read_features(0, false);
    cr_assert_not(f->has_smep || f->has_tsc_adjust || f->is_intel);
    cr_assert(says("missing: SMEP SMAP UMIP"));
}

Test(boot_features, deadline_timer_goes_by_its_microcode) {
    cr_assert_not(read_features(0x02000013, false)->has_tsc_deadline);
    cr_assert(says("erratum with microcode 0x2000013"));
    cr_assert(read_features(0x02000014, false)->has_tsc_deadline);
    cr_assert(read_features(0, false)->has_tsc_deadline, "an emulator");
    set(1, 0, 0x50654, 0, 1u << 24 | 1u << 31, 0);
    cr_assert(read_features(1, false)->has_tsc_deadline, "a hypervisor's word");
    set(1, 0, 0x406f1, 0, 1u << 24, 0);
    cr_assert_not(read_features(0x0b00001f, false)->has_tsc_deadline, "any stepping of Broadwell");
    set(1, 0, 0x606a6, 0, 1u << 24, 0);
    cr_assert(read_features(1, false)->has_tsc_deadline, "Ice Lake");
}

Test(boot_features, refused_x2apic_is_not_used_where_that_is_possible) {
    info.cpu_count = 2;
    info.cpu[1].apic_id = 254;
    cr_assert_not(read_features(0, true)->has_x2apic);
    cr_assert(says("xAPIC mode: done"));
    info.cpu[1].apic_id = 255;
    cr_assert(read_features(0, true)->has_x2apic && says("not possible"));
    info.cpu[1].apic_id = 1;
    apic_base = 1 << 10;
    cr_assert(read_features(0, true)->has_x2apic, "it is on: the way back leads through a reset");
}

// An ID of more than 8 bits would be cut, and another CPU started again; and 255 is everybody.
Test(boot_features, cpus_that_cannot_be_named_are_left_off) {
    const uint32_t ids[] = {0, 254, 255, 256, 4096};
    read_features(0, false);
    for (info.cpu_count = 0; info.cpu_count < 5; info.cpu_count++)
        info.cpu[info.cpu_count].apic_id = ids[info.cpu_count];
    boot_features_limit_cpus(&info, 0);
    cr_assert(info.cpu_count == 5 && !says("left o"));
    set(1, 0, 0x50654, 0, 1u << 5 | 1u << 24 | 1u << 26 | 1u << 27, 0xbfebfbff);
    read_features(0, false);
    boot_features_limit_cpus(&info, 0);
    cr_assert_eq(info.cpu_count, 2);
    cr_assert(says("3 CPUs, from APIC ID 255 on, need x2APIC mode") && !says("beyond"));
    info.cpu[0].apic_id = 300;
    info.cpu_count = 1;
    boot_features_limit_cpus(&info, 3);
    cr_assert(info.cpu_count == 0 && says("3 CPUs beyond the first 1024 are left off"));
}

static const struct cpu_word *find(uint32_t number, uint32_t source) {
    for (uint32_t i = 0; i < info.word_count; i++)
        if (info.word[i].number == number && info.word[i].source == source)
            return &info.word[i];
    return NULL;
}

Test(boot_features, words_are_without_what_differs_between_equal_cpus) {
    read_features(0, false);
    cr_assert_eq(find(1, CPU_WORD_ECX)->value >> 27 & 1, 0, "OSXSAVE");
    cr_assert_eq(find(7, CPU_WORD_ECX)->value, 1 << 2, "OSPKE");
    cr_assert_null(find(1, CPU_WORD_EBX), "the APIC ID");
    cr_assert_eq(find(0x80000008, CPU_WORD_EAX)->rule, CPU_WORD_SAME);
    cr_assert_eq(find(0x80000008, CPU_WORD_EAX)->mask, 0xffff);
    cr_assert_eq(find(0x80000008, CPU_WORD_EAX)->value, 0x302e);
    cr_assert_eq(find(0x485, CPU_WORD_MSR)->mask, 0x3fffffff);
    cr_assert_eq(find(0x481, CPU_WORD_MSR)->rule, CPU_WORD_CONTROLS);
    cr_assert_eq(find(0x490, CPU_WORD_MSR)->value, 0x1490);
    cr_assert(info.word_count < BOOT_WORDS_MAX);
}

Test(boot_features, what_idle_cpus_rely_on_is_a_word) {
    const char *const cmdlines[] = {"", "idle=mwait"};
    set(1, 0, 0x50654, 0, 1u << 3 | 1u << 5 | 1u << 24, 0xbfebfbff);
    set(5, 0, 64, 64, 0x1003, 0x2020);
    set(6, 0, 0x77, 2, 9, 0);
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t found = 0;
        strcpy(platform.start.cmdline, cmdlines[i]);
        cr_expect_eq(read_features(0, false)->has_mwait, i == 1);
        for (uint32_t k = 0; k < info.word_count; k++) {
            const struct cpu_word *word = &info.word[k];
            found += word->number == 5 && word->source == CPU_WORD_ECX && word->value == 3;
            found += word->number == 6 && word->source == CPU_WORD_EAX && word->value == 4;
        }
        cr_expect_eq(found, 2 * i);
    }
}

Test(boot_features, amd_v_is_the_same_on_all_cpus) {
    read_features(0, false);
    cr_assert_null(find(0x8000000a, CPU_WORD_EBX), "no such leaf");
    set(0x80000000, 0, 0x8000000a, 0, 0, 0);
    set(0x8000000a, 0, 1, 0x8000, 0, 0x1bcff);
    set(1, 0, 0x800f12, 0, 1u << 26 | 1u << 27, 0xbfebfbff);
    set(0x80000001, 0, 0, 0, 1u << 2, 1u << 20 | 1u << 26 | 1u << 27);
    cr_assert(read_features(0, false)->has_svm && !info.features.has_vmx);
    const struct cpu_word *asids = find(0x8000000a, CPU_WORD_EBX);
    cr_assert(asids != NULL && asids->value == 0x8000 && asids->rule == CPU_WORD_SAME);
    const struct cpu_word *flags = find(0x8000000a, CPU_WORD_EDX);
    cr_assert(flags != NULL && flags->value == 0x1bcff && flags->rule == CPU_WORD_BITS);
    cr_assert_eq(flags->mask, UINT32_MAX);
    cr_assert_null(find(0x480, CPU_WORD_MSR));
}

Test(boot_features, msrs_that_are_not_promised_are_not_read) {
    secondary = 1; // without EPT and VPID
    read_features(0, false);
    secondary = 0;
    read_features(0, false);
    set(1, 0, 0, 0, 0, 0);
    read_features(0, false);
    cr_assert_eq(wild_msrs, 0);
    cr_assert_null(find(0x480, CPU_WORD_MSR));
}
