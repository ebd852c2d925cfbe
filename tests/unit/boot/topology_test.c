// SPDX-License-Identifier: Apache-2.0
// boot/boot_topology: what CPUID says on processors that exist.
#include "boot/boot_topology.h"

#include <criterion/criterion.h>

struct leaf {
    uint32_t leaf, subleaf;
    struct boot_cpuid r;
};

static const struct leaf *model;

// As real ones do: 0 for what is not there.
static struct boot_cpuid read_model(uint32_t leaf, uint32_t subleaf) {
    for (const struct leaf *l = model; l->r.eax != UINT32_MAX; l++)
        if (l->leaf == leaf && l->subleaf == subleaf)
            return l->r;
    return (struct boot_cpuid){0, 0, 0, 0};
}
#define END                                                                                        \
    {                                                                                              \
        0, 0, {                                                                                    \
            UINT32_MAX, 0, 0, 0                                                                    \
        }                                                                                          \
    }

#define HTT 0x10000000u

static const struct leaf core_i7_8700[] = {{0x0, 0, {0x16, 0, 0, 0}},
                                           {0x1, 0, {0x906ea, 0x00100800, 0, 0xbfebfbff}},
                                           {0x4, 0, {0x1c004121, 0x01c0003f, 0x3f, 0}},
                                           {0xb, 0, {1, 2, 0x100, 0}},
                                           {0xb, 1, {4, 12, 0x201, 0}},
                                           END};
static const struct leaf core_i5_8400[] = {{0x0, 0, {0x16, 0, 0, 0}},
                                           {0x1, 0, {0x906ea, 0x00100800, 0, 0xbfebfbff}},
                                           {0x4, 0, {0x1c004121, 0x01c0003f, 0x3f, 0}},
                                           {0xb, 0, {0, 1, 0x100, 0}},
                                           {0xb, 1, {4, 6, 0x201, 0}},
                                           END};
// Bochs, corei7_skylake_x, two CPUs: each is a package of its own.
static const struct leaf bochs_skylake_x[] = {{0x0, 0, {0x16, 0, 0, 0}},
                                              {0x1, 0, {0x50654, 0x00010800, 0, 0xbfebfbff}},
                                              {0x4, 0, {0x1c004121, 0x01c0003f, 0x3f, 0}},
                                              {0xb, 0, {1, 1, 0x100, 0}},
                                              {0xb, 1, {1, 1, 0x201, 0}},
                                              END};
// Leaf 0x1f has dies and modules, too.
static const struct leaf xeon_6430[] = {{0x0, 0, {0x20, 0, 0, 0}},
                                        {0x1, 0, {0x806f8, 0x00800800, 0, HTT}},
                                        {0x4, 0, {0xfc004121, 0x02c0003f, 0x3f, 0}},
                                        {0xb, 0, {1, 2, 0x100, 0}},
                                        {0x1f, 0, {1, 2, 0x100, 0}},
                                        {0x1f, 1, {7, 64, 0x201, 0}},
                                        END};
static const struct leaf xeon_phi_7210[] = {{0x0, 0, {0xd, 0, 0, 0}},
                                            {0x1, 0, {0x50671, 0x00ff0800, 0, HTT}},
                                            {0xb, 0, {2, 4, 0x100, 0}},
                                            {0xb, 1, {9, 256, 0x201, 0}},
                                            END};
static const struct leaf core2_t9600[] = {{0x0, 0, {0xd, 0, 0, 0}},
                                          {0x1, 0, {0x1067a, 0x00020800, 0, 0xbfebfbff}},
                                          {0x4, 0, {0x04000121, 0x01c0003f, 0x3f, 1}},
                                          END};
static const struct leaf atom_d510[] = {{0x0, 0, {0xa, 0, 0, 0}},
                                        {0x1, 0, {0x106ca, 0x00040800, 0, 0xbfebfbff}},
                                        {0x4, 0, {0x04004121, 0x0140003f, 0x3f, 1}},
                                        END};
static const struct leaf phenom_1090t[] = {{0x0, 0, {0x6, 0, 0, 0}},
                                           {0x1, 0, {0x100fa0, 0x00060800, 0, HTT}},
                                           {0x80000000, 0, {0x8000001b, 0, 0, 0}},
                                           {0x80000001, 0, {0x100fa0, 0, 0x37ff, 0}},
                                           END};
static const struct leaf fx_8150[] = {{0x0, 0, {0xd, 0, 0, 0}},
                                      {0x1, 0, {0x600f12, 0x00080800, 0, HTT}},
                                      {0x80000000, 0, {0x8000001e, 0, 0, 0}},
                                      {0x80000001, 0, {0x600f12, 0, 0x01c9bfff, 0}},
                                      {0x8000001e, 0, {0, 0x100, 0, 0}},
                                      END};
static const struct leaf ryzen_1700[] = {{0x0, 0, {0xd, 0, 0, 0}},
                                         {0x1, 0, {0x800f11, 0x00100800, 0, HTT}},
                                         {0x80000000, 0, {0x8000001f, 0, 0, 0}},
                                         {0x80000001, 0, {0x800f11, 0, 0x35c233ff, 0}},
                                         {0x8000001e, 0, {0, 0x100, 0x200, 0}},
                                         END};
static const struct leaf ryzen_3700x[] = {{0x0, 0, {0x10, 0, 0, 0}},
                                          {0x1, 0, {0x870f10, 0x00100800, 0, HTT}},
                                          {0xb, 0, {1, 2, 0x100, 0}},
                                          {0xb, 1, {4, 16, 0x201, 0}},
                                          {0x80000000, 0, {0x80000020, 0, 0, 0}},
                                          END};

Test(boot_topology, thread_bits_of_processors_that_exist) {
    const struct {
        const struct leaf *model;
        uint32_t bits;
    } cases[] = {
        {core_i7_8700, 1},  {core_i5_8400, 0}, {bochs_skylake_x, 0}, {xeon_6430, 1},
        {xeon_phi_7210, 2}, {core2_t9600, 0},  {atom_d510, 1},       {phenom_1090t, 0},
        {fx_8150, 1},       {ryzen_1700, 1},   {ryzen_3700x, 1},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        model = cases[i].model;
        cr_expect_eq(boot_topology_thread_bits(read_model), cases[i].bits, "model %u", i);
    }
}

// An outer hypervisor may show the leaf's number without the leaf, or counts without sense.
Test(boot_topology, takes_no_level_from_an_empty_leaf) {
    static const struct leaf empty[] = {{0x0, 0, {0x1f, 0, 0, 0}},
                                        {0x1, 0, {0, 0x00040000, 0, HTT}},
                                        {0x4, 0, {0x04004121, 0, 0, 0}},
                                        END};
    static const struct leaf odd[] = {
        {0x0, 0, {0x4, 0, 0, 0}}, {0x1, 0, {0, 0, 0, HTT}}, {0x4, 0, {0xfc004121, 0, 0, 0}}, END};
    static const struct leaf strange[] = {{0x0, 0, {0xb, 0, 0, 0}}, // the first level is no SMT
                                          {0x1, 0, {0, 0x00040000, 0, HTT}},
                                          {0x4, 0, {0x04004121, 0, 0, 0}},
                                          {0xb, 0, {4, 8, 0x200, 0}},
                                          END};
    model = empty;
    cr_expect_eq(boot_topology_thread_bits(read_model), 1);
    model = strange;
    cr_expect_eq(boot_topology_thread_bits(read_model), 1);
    model = odd;
    cr_expect_eq(boot_topology_thread_bits(read_model), 0);
}

Test(boot_topology, apic_id_has_32_bits_where_they_are_told) {
    static const struct leaf wide[] = {{0x0, 0, {0x20, 0, 0, 0}},
                                       {0x1, 0, {0, 0x05000000, 0, HTT}},
                                       {0xb, 0, {1, 2, 0x100, 0x305}},
                                       {0x1f, 0, {1, 2, 0x100, 0x10305}},
                                       END};
    static const struct leaf levels[] = {{0x0, 0, {0x1f, 0, 0, 0}},
                                         {0x1, 0, {0, 0x05000000, 0, HTT}},
                                         {0xb, 0, {1, 2, 0x100, 0x305}},
                                         END};
    static const struct leaf narrow[] = {
        {0x0, 0, {0xd, 0, 0, 0}}, {0x1, 0, {0, 0x05000000, 0, HTT}}, END};
    model = wide;
    cr_expect_eq(boot_topology_apic_id(read_model), 0x10305);
    model = levels;
    cr_expect_eq(boot_topology_apic_id(read_model), 0x305);
    model = narrow;
    cr_expect_eq(boot_topology_apic_id(read_model), 5);
}
