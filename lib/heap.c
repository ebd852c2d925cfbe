// SPDX-License-Identifier: Apache-2.0
// See lib/heap.h.
#include "lib/heap.h"

// Both are roots. The greater becomes the first child of the lesser; of equals, `a` stays above.
static struct heap_node *meld(struct heap_node *a, struct heap_node *b) {
    if (a == NULL || b == NULL)
        return a == NULL ? b : a;
    if (b->key < a->key) {
        struct heap_node *swap = a;
        a = b;
        b = swap;
    }
    b->sibling = a->child;
    if (a->child != NULL)
        a->child->previous = b;
    b->previous = a;
    a->child = b;
    return a;
}

static struct heap_node *detach(struct heap_node *node) {
    if (node != NULL)
        node->sibling = node->previous = NULL;
    return node;
}

// The children of a root that went: melded in pairs from the left, then all from the right.
static struct heap_node *meld_siblings(struct heap_node *first) {
    struct heap_node *pairs = NULL; // the pairs, the last one first
    while (first != NULL) {
        struct heap_node *a = first, *b = a->sibling;
        first = b != NULL ? b->sibling : NULL;
        detach(a);
        a = meld(a, detach(b));
        a->sibling = pairs;
        pairs = a;
    }
    struct heap_node *root = NULL;
    while (pairs != NULL) {
        struct heap_node *next = pairs->sibling;
        root = meld(detach(pairs), root);
        pairs = next;
    }
    return root;
}

void heap_insert(struct heap *heap, struct heap_node *node, uint64_t key) {
    *node = (struct heap_node){.key = key};
    heap->root = meld(heap->root, node);
}

void heap_remove(struct heap *heap, struct heap_node *node) {
    struct heap_node *rest = meld_siblings(node->child);
    node->child = NULL;
    if (heap->root == node) {
        heap->root = rest;
        return;
    }
    if (node->previous->child == node)
        node->previous->child = node->sibling;
    else
        node->previous->sibling = node->sibling;
    if (node->sibling != NULL)
        node->sibling->previous = node->previous;
    detach(node);
    heap->root = meld(heap->root, rest);
}
