// SPDX-License-Identifier: Apache-2.0
//
// server-fix.so: the emulator listens on no port.
//
// The one display that Bochs 3.1 has without a screen is a VNC server on all addresses, without a
// password: whoever reaches the host could type into the hypervisor. Nobody is meant to connect, so
// its socket is never bound, and waits for ever. The serial port is a connection that the emulator
// makes itself.
//
// These stand in for libc's, which the emulator finds later.

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int bind(int socket, const struct sockaddr *address, socklen_t length) {
    (void)socket;
    (void)address;
    (void)length;
    return 0;
}

int listen(int socket, int backlog) {
    (void)socket;
    (void)backlog;
    return 0;
}

int accept(int socket, struct sockaddr *restrict address, socklen_t *restrict length) {
    (void)socket;
    (void)address;
    (void)length;
    for (;;)
        pause();
}

__attribute__((constructor)) static void tell(void) {
    fprintf(stderr, "server-fix: the emulator listens nowhere now\n");
}
