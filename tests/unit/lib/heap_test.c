// SPDX-License-Identifier: Apache-2.0
// lib/heap.c against a sorted list: whatever goes in comes out least first, and removal takes out
// that one.
#include "lib/heap.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define NODES 300u

static struct heap_node nodes[NODES];
static bool is_in[NODES];

static uint64_t seed = 88172645463325252ULL;
static uint64_t random_number(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static uint64_t least(void) {
    uint64_t key = UINT64_MAX;
    for (unsigned i = 0; i < NODES; i++)
        if (is_in[i] && nodes[i].key < key)
            key = nodes[i].key;
    return key;
}

Test(heap, first_is_always_the_least) {
    struct heap heap = {NULL};
    unsigned count = 0;
    for (unsigned round = 0; round < 20000; round++) {
        unsigned i = (unsigned)(random_number() % NODES);
        if (is_in[i]) {
            heap_remove(&heap, &nodes[i]);
            count--;
        } else {
            heap_insert(&heap, &nodes[i], random_number() % 1000);
            count++;
        }
        is_in[i] = !is_in[i];
        cr_assert_eq(heap_first(&heap) == NULL, count == 0);
        if (count > 0)
            cr_assert_eq(heap_first(&heap)->key, least());
    }
}

Test(heap, sorts) {
    struct heap heap = {NULL};
    for (unsigned i = 0; i < NODES; i++)
        heap_insert(&heap, &nodes[i], random_number() % 5000);
    uint64_t last = 0;
    for (unsigned i = 0; i < NODES; i++) {
        struct heap_node *first = heap_first(&heap);
        cr_assert_geq(first->key, last);
        last = first->key;
        heap_remove(&heap, first);
    }
    cr_assert_null(heap_first(&heap));
}

Test(heap, equal_keys_keep_their_first) {
    struct heap heap = {NULL};
    for (unsigned i = 0; i < 10; i++)
        heap_insert(&heap, &nodes[i], 7);
    cr_assert_eq(heap_first(&heap), &nodes[0]);
}
