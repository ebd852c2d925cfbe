# SPDX-License-Identifier: Apache-2.0
"""A run at a terminal, or with a pipe in its place: COM1 is what the person sees and types to.

    status = run_terminal(arguments, manifest, machine)
"""

import contextlib
import os
import select
import sys
import time

from . import session as sessions
from .command import EXIT_INTERRUPTED
from .machine import SerialSocket
from .outcome import FAILED, OK, TIMED_OUT
from .relay import Escape, Keyboard, RawTerminal, Script
from .screen import FENCE_ANSWER, Screen
from .session import TICK_SECONDS, Session, explain


def run_terminal(arguments, manifest, machine):
    session = Session(arguments, manifest, machine)
    serial = SerialSocket(machine.work)
    status = None
    print_hint()
    with RawTerminal(sys.stdin.fileno()) as terminal:
        screen = Screen(terminal.newline)
        try:
            machine.start(serial)
            screen.progress(session)
            with serial.accept(machine) as connection:
                relay(session, screen, connection)
        except Escape:
            status = EXIT_INTERRUPTED
        finally:
            machine.stop()
            text, rest = session.close()
            screen.application(text)
            screen.write(rest)
            screen.end()
            if terminal.saved and screen.ask():
                terminal.drop_until(FENCE_ANSWER)
    if status is None:
        status = terminal_status(session)
        explain(arguments, session, status)
    return status


def terminal_status(session):
    outcome = session.outcome
    if session.fault or outcome.panic or outcome.halted or not session.startup.is_over:
        return TIMED_OUT if session.has_timed_out else FAILED
    return TIMED_OUT if session.has_timed_out else OK


def relay(session, screen, connection):
    """Carries bytes both ways until the machine has ended."""
    stdin = sys.stdin.fileno()
    is_script = not sys.stdin.isatty()
    source = Script() if is_script else Keyboard()
    inputs = [connection, stdin]
    while not session.is_over():
        ready, _, _ = select.select(inputs, [], [], TICK_SECONDS)
        if connection in ready:
            data = receive(connection)
            if not data:
                inputs.remove(connection)
                wait_for_end(session)
                return
            text, rest = session.output(data)
            screen.application(text)
            screen.write(rest)
            if is_script and rest:
                source.output(rest, time.monotonic())
        elif not ready:
            screen.write(session.pause())
        if stdin in ready:
            data = os.read(stdin, 4096)
            if not data:
                inputs.remove(stdin)
            typed = source.feed(data)
            if not is_script and session.startup.is_over:
                send(connection, typed)
        if is_script:
            send(connection, source.due(time.monotonic()))
        if not session.startup.is_over:
            screen.progress(session)


def receive(connection):
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""


def send(connection, data):
    with contextlib.suppress(ConnectionError):  # that the machine has ended is seen elsewhere
        connection.sendall(data)


def wait_for_end(session):
    """The serial line is closed: the emulator is about to end."""
    while not session.is_over():
        time.sleep(TICK_SECONDS)
        if time.monotonic() - session.last_output > sessions.ENDED_GRACE:
            return


def print_hint():
    print("Ctrl-A h: help of the hypervisor's console; Ctrl-A x: end all VMs and power off")
    print("Ctrl-] Ctrl-]: end the emulator at once", flush=True)
