// SPDX-License-Identifier: Apache-2.0
// A list whose links lie in what it holds: a ring of links with a head among them. A link that is
// in no list points at nothing.
#pragma once

#include "lib/types.h"

struct link {
    struct link *next, *previous; // both NULL: in no list
};

struct list {
    struct link head;
};

static inline void list_init(struct list *list) {
    list->head.next = list->head.previous = &list->head;
}

static inline bool list_is_empty(const struct list *list) {
    return list->head.next == &list->head;
}

static inline void link_insert_behind(struct link *link, struct link *where) {
    link->previous = where;
    link->next = where->next;
    where->next->previous = link;
    where->next = link;
}

static inline void list_push_first(struct list *list, struct link *link) {
    link_insert_behind(link, &list->head);
}

static inline void list_push_last(struct list *list, struct link *link) {
    link_insert_behind(link, list->head.previous);
}

static inline void link_remove(struct link *link) {
    link->previous->next = link->next;
    link->next->previous = link->previous;
    link->next = link->previous = NULL;
}

// NULL: the list is empty.
static inline struct link *list_first(struct list *list) {
    return list_is_empty(list) ? NULL : list->head.next;
}

// All of `from` goes to `to`, which must be empty.
static inline void list_move_all(struct list *to, struct list *from) {
    if (list_is_empty(from))
        return;
    *to = *from;
    to->head.next->previous = &to->head;
    to->head.previous->next = &to->head;
    list_init(from);
}
