// SPDX-License-Identifier: Apache-2.0
// A pairing heap whose nodes lie in what it holds: the least key first. Insertion costs the same
// however many there are; removal log n, amortized. (Fredman, Sedgewick, Sleator, Tarjan: "The
// Pairing Heap", 1986.)
#pragma once

#include "lib/types.h"

struct heap_node {
    uint64_t key;
    struct heap_node *child;   // the first of them
    struct heap_node *sibling; // the next one
    struct heap_node
        *previous; // the sibling before it, or its parent; NULL: the root, or in no heap
};

struct heap {
    struct heap_node *root; // NULL: empty. Zeroes are an empty heap
};

// `node` must be in no heap.
void heap_insert(struct heap *heap, struct heap_node *node, uint64_t key);
// `node` must be in this heap.
void heap_remove(struct heap *heap, struct heap_node *node);

static inline struct heap_node *heap_first(const struct heap *heap) {
    return heap->root;
}
