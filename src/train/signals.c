#include "train/signals.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/status.h"

/* A launcher that passes on what its whole group got sends the same request twice. */
enum { SAME_REQUEST_MS = 300 };
enum { LOOK_EVERY_MS = 250, REASON_STOP_FILE = 1000 /* greater than any signal */ };

static volatile sig_atomic_t received, held, leaving, checkpoint_stands;
static _Atomic int64_t last_ms; /* when the newest request came */
static bool stop_file_seen;

/* Async-signal-safe. */
static _Noreturn void leave_now(void)
{
    static const char committed[] = "asked to stop again: leaving at once; the newest checkpoint stands, the same command goes on from "
                                    "it\n";
    static const char nothing[] = "asked to stop again: leaving at once; there is no checkpoint yet\n";
    const char *text = checkpoint_stands ? committed : nothing;
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        text = NULL; /* nobody reads it: leave all the same */
    _exit(status_exit_code(checkpoint_stands ? VT_E_STOP : VT_E_IO));
}

static void on_signal(int number)
{
    int64_t now = (int64_t)clock_ms();
    if (!received) {
        last_ms = now;
        received = number;
        return;
    }
    if ((number != SIGTERM && number != SIGINT) || now - last_ms < SAME_REQUEST_MS)
        return;
    last_ms = now;
    if (!held || leaving)
        leave_now();
    leaving = 1;
}

static void install(int number, bool may_be_ignored)
{
    struct sigaction before, action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigfillset(&action.sa_mask);
    if (may_be_ignored && sigaction(number, NULL, &before) == 0 && before.sa_handler == SIG_IGN)
        return;
    sigaction(number, &action, NULL);
}

void signals_install(void)
{
    install(SIGUSR2, false);
    install(SIGTERM, false);
    install(SIGINT, true);
    install(SIGHUP, true);
}

void signals_checkpoint_stands(void) { checkpoint_stands = 1; }

void signals_hold(void) { held = 1; }

void signals_release(void)
{
    held = 0;
    if (leaving)
        leave_now();
}

bool signals_stop_requested(const char *stop_file)
{
    static double next_look_ms;
    if (received)
        return true;
    if (!*stop_file || clock_ms() < next_look_ms)
        return stop_file_seen;
    next_look_ms = clock_ms() + LOOK_EVERY_MS;
    stop_file_seen = file_exists(stop_file);
    return stop_file_seen;
}

int signals_stop_reason(void)
{
    return received ? received : stop_file_seen ? REASON_STOP_FILE : 0;
}

const char *signals_reason_name(int reason)
{
    switch (reason) {
    case REASON_STOP_FILE: return "stop file";
    case SIGUSR2: return "SIGUSR2";
    case SIGTERM: return "SIGTERM";
    case SIGINT: return "SIGINT";
    case SIGHUP: return "SIGHUP";
    }
    return "signal";
}
