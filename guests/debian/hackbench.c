// SPDX-License-Identifier: Apache-2.0
//
// hackbench: many talk to many, as the scheduler's well-known load of that name does. In each group
// every sender sends each receiver so many messages, by pipes or socket pairs, all of them
// processes or all of them threads.
//
//   hackbench GROUPS MEMBERS MESSAGES
//
// runs all four kinds, one after the other. A receiver ends when it has got all that is meant for
// it; each message names its sender and its number, and must be the next of that sender. One line
// tells the end: `hackbench: PASS N messages`, or `hackbench: FAIL REASON`.
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEMBERS_MAX 32u

struct message {
    uint32_t sender;
    uint32_t number;
    uint8_t filling[92];
};
_Static_assert(sizeof(struct message) == 100, "as the original's");

struct group {
    int in[MEMBERS_MAX], out[MEMBERS_MAX]; // a channel for each receiver
    int gate[2];                           // who reads its end may begin
};

struct member {
    struct group *group;
    uint32_t number;
    bool is_sender;
    pthread_t thread;
    pid_t process;
};

static uint32_t group_count, member_count, message_count;

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
    va_list arguments;

    va_start(arguments, format);
    printf("hackbench: FAIL ");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    fflush(stdout);
    _exit(EXIT_FAILURE);
}

static void transfer(bool is_write, int file, void *bytes, size_t size) {
    uint8_t *at = bytes;

    while (size > 0) {
        const ssize_t done = is_write ? write(file, at, size) : read(file, at, size);
        if (done <= 0)
            fail("%s: %s", is_write ? "write" : "read", done == 0 ? "end" : strerror(errno));
        at += done;
        size -= (size_t)done;
    }
}

static void send_all(const struct member *self) {
    struct message message = {.sender = self->number};

    for (message.number = 0; message.number < message_count; message.number++)
        for (uint32_t to = 0; to < member_count; to++)
            transfer(true, self->group->out[to], &message, sizeof(message));
}

static void receive_all(const struct member *self) {
    uint32_t next[MEMBERS_MAX] = {0};
    struct message message;

    for (uint32_t i = 0; i < member_count * message_count; i++) {
        transfer(false, self->group->in[self->number], &message, sizeof(message));
        if (message.sender >= member_count || message.number != next[message.sender])
            fail("receiver %u got message %u of sender %u out of turn", self->number,
                 message.number, message.sender);
        next[message.sender]++;
    }
}

static void *work(void *opaque) {
    const struct member *self = opaque;
    uint8_t go;

    transfer(false, self->group->gate[0], &go, 1);
    if (self->is_sender)
        send_all(self);
    else
        receive_all(self);
    return NULL;
}

static void open_group(struct group *group, bool is_pipe) {
    if (pipe(group->gate) != 0)
        fail("pipe: %s", strerror(errno));
    for (uint32_t i = 0; i < member_count; i++) {
        int ends[2];
        if ((is_pipe ? pipe(ends) : socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) != 0)
            fail("%s: %s", is_pipe ? "pipe" : "socketpair", strerror(errno));
        group->in[i] = ends[0];
        group->out[i] = ends[1];
    }
}

static void close_group(struct group *group) {
    close(group->gate[0]);
    close(group->gate[1]);
    for (uint32_t i = 0; i < member_count; i++) {
        close(group->in[i]);
        close(group->out[i]);
    }
}

static void start(struct member *member, bool is_thread) {
    if (is_thread) {
        if (pthread_create(&member->thread, NULL, work, member) != 0)
            fail("no thread");
        return;
    }
    member->process = fork();
    if (member->process < 0)
        fail("fork: %s", strerror(errno));
    if (member->process == 0) {
        work(member);
        _exit(EXIT_SUCCESS);
    }
}

static void join(struct member *member, bool is_thread) {
    int status = 0;

    if (is_thread)
        pthread_join(member->thread, NULL);
    else if (waitpid(member->process, &status, 0) < 0 || status != 0)
        fail("a process ended with status 0x%x", (unsigned)status);
}

static void run(bool is_pipe, bool is_thread) {
    const uint32_t in_group = 2 * member_count, count = group_count * in_group;
    struct group *groups = calloc(group_count, sizeof(*groups));
    struct member *members = calloc(count, sizeof(*members));
    uint8_t go[2 * MEMBERS_MAX] = {0};

    if (groups == NULL || members == NULL)
        fail("no memory");
    for (uint32_t i = 0; i < group_count; i++)
        open_group(&groups[i], is_pipe);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t number = i % in_group;
        members[i].group = &groups[i / in_group];
        members[i].number = number % member_count;
        members[i].is_sender = number >= member_count;
        start(&members[i], is_thread);
    }
    for (uint32_t i = 0; i < group_count; i++)
        transfer(true, groups[i].gate[1], go, in_group);
    for (uint32_t i = 0; i < count; i++)
        join(&members[i], is_thread);
    for (uint32_t i = 0; i < group_count; i++)
        close_group(&groups[i]);
    free(groups);
    free(members);
}

int main(int count, char **arguments) {
    if (count != 4) {
        fprintf(stderr, "usage: hackbench GROUPS MEMBERS MESSAGES\n");
        return 2;
    }
    group_count = (uint32_t)strtoul(arguments[1], NULL, 10);
    member_count = (uint32_t)strtoul(arguments[2], NULL, 10);
    message_count = (uint32_t)strtoul(arguments[3], NULL, 10);
    if (group_count == 0 || member_count == 0 || member_count > MEMBERS_MAX)
        fail("1 group at least, 1 to %u members", MEMBERS_MAX);
    for (unsigned kind = 0; kind < 4; kind++)
        run((kind & 1) != 0, (kind & 2) != 0);
    printf("hackbench: PASS %" PRIu64 " messages\n",
           4 * (uint64_t)group_count * member_count * member_count * message_count);
    return EXIT_SUCCESS;
}
